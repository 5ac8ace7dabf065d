"""grpc.health.v1: SERVING only while PostgreSQL answers and NATS is connected."""

import asyncio
import logging

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from coordinator.bus import Bus
from coordinator.store.engine import Database

CHECK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Health:
    """The health of every service of this process; they stand and fall together."""

    def __init__(self, database: Database, bus: Bus, services: tuple[str, ...]) -> None:
        self._database = database
        self._bus = bus
        self._services = ("", *services)
        self._is_serving: bool | None = None
        self.servicer = aio.HealthServicer()

    async def run(self) -> None:
        """Looks every second, for ever."""
        while True:
            await self._set(self._bus.is_connected and await self._database.answers())
            await asyncio.sleep(CHECK_SECONDS)

    async def stop(self) -> None:
        """NOT_SERVING from now on, whatever else is found."""
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, is_serving: bool) -> None:
        if is_serving is self._is_serving:
            return
        self._is_serving = is_serving
        log.info("now %s", "serving" if is_serving else "not serving")
        response = health_pb2.HealthCheckResponse
        for service in self._services:
            await self.servicer.set(service, response.SERVING if is_serving else response.NOT_SERVING)
