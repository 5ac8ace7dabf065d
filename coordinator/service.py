"""One coordinator process: what runs in it, how it starts, and how it stops.

Starts by migrating the schema (and waits for PostgreSQL if it is not there), then serves. The relay, the reconciler,
the listener, the bus and the health check run beside the server in one task group: if one of them dies, so does the
process, because a coordinator that only half works is worse than none.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence

from coordinator.api.health import Health
from coordinator.api.server import SERVICES, make_server
from coordinator.bus import Bus
from coordinator.outbox import Relay
from coordinator.reconcile import Reconciler
from coordinator.store.engine import DATABASE_DOWN, OUR_FAULTS, Database
from coordinator.store.jobs import PostgresJobs
from coordinator.store.migrate import migrate
from coordinator.store.notifications import Notifications
from coordinator.terms import Terms
from luthier.settings import CoordinatorSettings
from luthier.transport import is_loopback

MAX_START_PAUSE_SECONDS = 5.0
# Past `stop_grace`: for closing pools, and for libraries that swallow a cancellation.
HARD_EXIT_SECONDS = 5.0
CANCEL_AGAIN_SECONDS = 0.5

log = logging.getLogger(__name__)


def check_settings(settings: CoordinatorSettings) -> None:
    """Refuses settings that a coordinator cannot work with.

    Raises:
        ValueError: naming the variable and what it should be.
    """
    values = {
        "LUTHIER_DATABASE_URL": settings.database_url.get_secret_value(),
        "LUTHIER_INTERNAL_TOKEN": settings.internal_token.get_secret_value(),
        "LUTHIER_ARTIFACTS": settings.artifacts,
    }
    for name, value in values.items():
        if not value:
            raise ValueError(f"{name} is not set; the coordinator needs it")
    if not is_loopback(settings.coordinator_listen):
        raise ValueError(
            f"LUTHIER_COORDINATOR_LISTEN is {settings.coordinator_listen!r}; without TLS the coordinator listens on "
            f"a loopback address only, such as 127.0.0.1:7430"
        )


async def run(settings: CoordinatorSettings) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        ValueError: a setting is missing or wrong.
        ExceptionGroup: a part of the coordinator died.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _ask_to_stop, stop, settings.stop_grace.total_seconds())
    await serve(settings, stop)


async def serve(
    settings: CoordinatorSettings, stop: asyncio.Event, on_ready: Callable[[int], None] = lambda port: None
) -> None:
    """Serves until `stop` is set; `on_ready` gets the port once calls are answered."""
    check_settings(settings)
    database = Database(settings.database_url.get_secret_value())
    notifications = Notifications(database)
    bus = Bus(settings.nats_url.get_secret_value())
    health = Health(database, bus, SERVICES)
    terms = Terms(
        lease=settings.lease,
        quarantine=settings.quarantine,
        artifacts=settings.artifacts,
        gang_wait=settings.gang_wait,
    )
    server = make_server(
        database,
        notifications,
        health,
        token=settings.internal_token.get_secret_value(),
        terms=terms,
    )
    port = server.add_insecure_port(settings.coordinator_listen)
    relay = Relay(database, bus, notifications)
    parts = (
        bus.run,
        notifications.run,
        health.run,
        relay.run_events,
        relay.run_wake_ups,
        Reconciler(PostgresJobs(database), terms, min(settings.reconcile_interval, settings.lease / 6)).run,
    )
    try:
        if not await _migrate(database, stop):
            return
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part(), name=part.__qualname__) for part in parts]
            try:
                await server.start()
                log.info("listening on port %d", port)
                on_ready(port)
                await stop.wait()
                log.info("stopping")
                await health.stop()
                notifications.close()
                await server.stop(settings.stop_grace.total_seconds())
            finally:
                await _end(tasks)
    finally:
        await server.stop(None)
        await database.close()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels until everything has ended: on Python 3.11 a cancellation can be swallowed (python/cpython#86296)."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)


async def _migrate(database: Database, stop: asyncio.Event) -> bool:
    """Brings the schema up to date, waiting for PostgreSQL; False when asked to stop before."""
    pause = 0.2
    while not stop.is_set():
        try:
            await migrate(database)
        except OUR_FAULTS:
            raise
        except DATABASE_DOWN as error:
            log.warning("PostgreSQL does not answer yet: %r", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_START_PAUSE_SECONDS)
        else:
            return True
    return False


def _ask_to_stop(stop: asyncio.Event, grace_seconds: float) -> None:
    """Starts the graceful stop, and the timer that ends the process if that hangs."""
    if stop.is_set():
        return
    stop.set()
    timer = threading.Timer(grace_seconds + HARD_EXIT_SECONDS, os._exit, args=(1,))
    timer.daemon = True
    timer.start()
