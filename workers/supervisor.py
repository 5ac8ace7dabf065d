"""The supervisor: takes one stage at a time and has a runner process do it. It never imports torch.

    wake-up (bus.py) -> claim (claims.py) -> attempt (attempt.py: process.py, relay.py, workspace.py)
    its outputs may be answered with the next stage of the job: attempt again (delivery.py), without a wake-up
    meanwhile: heartbeats (lease.py), hints that the job has changed (bus.py), signals (drain.py)

Ownership is decided by the coordinator alone: a wake-up is only a hint, and it is settled as soon as the claim is
decided. From then on the lease counts. A background task that dies takes the process with it. Of two processes with one
worker id the last to register stays: the coordinator refuses the other's next heartbeat, and it leaves.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from luthier import telemetry
from luthier.ids import check_id, new_id
from luthier.settings import WorkerSettings
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import RegisterWorkerRequest, RegisterWorkerResponse
from workers.attempt import Attempts
from workers.bus import StageQueue
from workers.capabilities import display_name, interface_of, probe
from workers.claims import Claims
from workers.coordinator_link import NO_ANSWER, Coordinator, GrpcCoordinator
from workers.delivery import Taken
from workers.drain import Drain
from workers.lease import Heartbeats
from workers.oom import kernel_counters
from workers.workspace import remove_leftovers

_log = logging.getLogger(__name__)

_CANCEL_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


async def supervise(settings: WorkerSettings, stages_name: str, stages: Mapping[str, str]) -> None:
    """Runs a worker until a signal asks it to leave. `stages_name` is how a runner finds the table `stages`.

    Raises:
        ValueError: a setting is wrong.
        LuthierError: the coordinator refuses this worker, such as for a wrong token.
    """
    drain = Drain()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain.signal)
    capabilities = await asyncio.to_thread(probe, settings, stages.keys())
    interface_of(settings.gang_host)  # a wrong setting is told now, not when a gang has formed
    await asyncio.to_thread(remove_leftovers, settings.work_path)
    async with GrpcCoordinator(
        settings.coordinator,
        settings.internal_token.get_secret_value(),
        settings.heartbeat_timeout.total_seconds(),
    ) as coordinator:
        queue = StageQueue(settings.nats_url.get_secret_value(), capabilities.kinds, capabilities.worker_classes)
        runner_argv = (sys.executable, "-P", "-m", "workers.runner", "--stages", stages_name)
        await Supervisor(settings, runner_argv, capabilities, coordinator, queue, drain).run()


class Supervisor:
    """One slot for one stage."""

    def __init__(
        self,
        settings: WorkerSettings,
        runner_argv: Sequence[str],
        capabilities: WorkerCapabilities,
        coordinator: Coordinator,
        queue: StageQueue,
        drain: Drain,
    ) -> None:
        self.worker_id = check_id(settings.worker_id or new_id("worker"), "worker id")
        self._instance_id = new_id("process")
        self._settings = settings
        self._runner_argv = runner_argv
        self._capabilities = capabilities
        self._coordinator = coordinator
        self._queue = queue
        self._drain = drain

    async def run(self) -> None:
        """Registers, then works until drained."""
        registered = await self._register()
        if registered is None:
            return
        heartbeats = Heartbeats(
            self._coordinator,
            self.worker_id,
            self._instance_id,
            lease=registered.lease.ToTimedelta().total_seconds(),
            interval=registered.heartbeat_interval.ToTimedelta().total_seconds(),
            on_forgotten=self._register,
        )
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(heartbeats.run()),
                tasks.create_task(self._queue.run()),
                tasks.create_task(self._announce_drain(heartbeats)),
            ]
            try:
                await self._work(heartbeats)
            finally:
                self._queue.stop()
            await _end(background)
        await heartbeats.beat()
        _log.info("worker %s has left", self.worker_id)

    async def _work(self, heartbeats: Heartbeats) -> None:
        claims = Claims(self._coordinator, self.worker_id, on_forgotten=self._register)
        attempts = self._attempts(heartbeats)
        while wake_up := await self._queue.next():
            if self._drain.requested.is_set():
                await wake_up.hand_back()
                return
            asked_at = asyncio.get_running_loop().time()
            assignment = await claims.take(wake_up)
            if assignment is not None:
                await self._run_all(attempts, Taken(assignment, asked_at), heartbeats)

    async def _run_all(self, attempts: Attempts, first: Taken, heartbeats: Heartbeats) -> None:
        """Runs an attempt, and the next stages of the job for as long as the coordinator hands them over."""
        job_id = first.assignment.stage.job_id
        async with self._queue.job_events(first.assignment.project_id, job_id, heartbeats.hurry):
            taken: Taken | None = first
            while taken is not None:
                stage = taken.assignment.stage
                _log.info("took %s of job %s, attempt %d, fence %d", stage.name, job_id, stage.attempt, stage.fence)
                with telemetry.span("worker.attempt", taken.assignment.traceparent, stage_id=stage.stage_id):
                    taken = await attempts.run(taken)

    async def _register(self) -> RegisterWorkerResponse | None:
        """Announces this worker, again and again while the coordinator is down. None: drained meanwhile."""
        request = RegisterWorkerRequest(
            worker_id=self.worker_id,
            display_name=display_name(),
            capabilities=self._capabilities,
            instance_id=self._instance_id,
        )
        pause = _FIRST_PAUSE_SECONDS
        while not self._drain.requested.is_set():
            try:
                response = await self._coordinator.register_worker(request)
            except NO_ANSWER as error:
                _log.warning("cannot register yet: %s", error)
            else:
                _log.info("worker %s is registered for %s", self.worker_id, ", ".join(self._capabilities.kinds))
                return response
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._drain.requested.wait()
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return None

    async def _announce_drain(self, heartbeats: Heartbeats) -> None:
        await self._drain.requested.wait()
        self._queue.stop()
        heartbeats.drain()

    def _attempts(self, heartbeats: Heartbeats) -> Attempts:
        return Attempts(
            coordinator=self._coordinator,
            worker_id=self.worker_id,
            heartbeats=heartbeats,
            drain=self._drain,
            runner_argv=self._runner_argv,
            environment=self._settings.runner_environment(),
            work_root=self._settings.work_path,
            drain_grace=self._settings.drain_grace.total_seconds(),
            gang_host=self._settings.gang_host,
            oom_counters=kernel_counters(),
        )


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels until all have ended: on Python 3.11 a library can swallow a cancellation (cpython#86296)."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
