"""One attempt at one stage, as the supervisor lives through it: runner started, relayed, ended, outcome recorded.

Three things end a runner early: its lease is gone (killed, nothing is reported), the worker drains or the job is paused
and the grace is over (killed, reported as PREEMPTED), or it dies by itself (reported with the reason, deaths.py).

Of an attempt that several workers share each lives through its part (gang.py). The leader's outcome is the attempt's.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.worker_service_pb2 import ReportStageRequest, StageAssignment
from workers.contract import Outcome, log_tail, read_outcome, write_task
from workers.coordinator_link import Coordinator
from workers.deaths import Death
from workers.delivery import Delivery, Taken
from workers.drain import Drain
from workers.failures import classify
from workers.gang import keep_port, let_others_speak, wait_formed
from workers.lease import Heartbeats, Lease
from workers.oom import OomWatch
from workers.process import RunnerProcess
from workers.relay import Relay
from workers.retired import remove_retired
from workers.workspace import Workspace

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempts:
    """Runs attempts, one after the other."""

    coordinator: Coordinator
    worker_id: str
    heartbeats: Heartbeats
    drain: Drain
    runner_argv: Sequence[str]
    """The runner's command, without the arguments that belong to one attempt."""
    environment: Mapping[str, str] = field(repr=False)
    """Everything that a runner sees of the environment."""
    work_root: Path
    drain_grace: float
    """Seconds that a runner has to stop when the worker drains or the job is paused."""
    gang_host: str = "127.0.0.1"
    """Address of this machine for the other workers of a gang."""
    oom_counters: Sequence[Path] = ()
    """Where the kernel counts what it killed for want of memory."""

    async def run(self, taken: Taken) -> Taken | None:
        """Lives through one attempt, or through the part of this worker in it.

        Returns the attempt that the coordinator has given this worker with its answer.
        """
        assignment, stage = taken.assignment, taken.assignment.stage
        is_member = assignment.gang.number > 0
        whose = f"-{self.worker_id}" if is_member else ""  # workers of one gang may share the root
        workspace = Workspace(self.work_root, f"{stage.stage_id}-{stage.fence}{whose}")
        try:
            with self.heartbeats.hold(stage.stage_id, stage.fence, taken.asked_at) as lease:
                delivery = Delivery(self.coordinator, lease, self.drain, self.worker_id)
                execute = self._take_part if assignment.HasField("gang") else self._execute
                outcome = await execute(assignment, workspace, lease, delivery)
                if lease.ended is not None:
                    return None
                if is_member:
                    await delivery.leave(stage, outcome)
                    return None
                return await delivery.record(stage, outcome)
        finally:
            await asyncio.to_thread(workspace.remove)

    async def _take_part(
        self, assignment: StageAssignment, workspace: Workspace, lease: Lease, delivery: Delivery
    ) -> Outcome:
        """The same as `_execute`, as one of a gang and once that has formed."""
        with ExitStack() as stack:
            if assignment.gang.number == 0:
                try:
                    port = stack.enter_context(keep_port(self.gang_host)).getsockname()[1]
                except OSError as error:
                    return classify(error)
                lease.address = f"{self.gang_host}:{port}"
            place = await wait_formed(lease, self.heartbeats, self.drain)
            if place is None:
                return _preempted("its gang had not formed")
            assignment.gang.CopyFrom(place)
            outcome = await self._execute(assignment, workspace, lease, delivery)
        if place.num_workers > 1:
            await let_others_speak(outcome, lease, self.heartbeats)
        return outcome

    async def _execute(
        self, assignment: StageAssignment, workspace: Workspace, lease: Lease, delivery: Delivery
    ) -> Outcome:
        if self._must_stop(lease):
            return _preempted("it had not begun")
        watch = OomWatch(self.oom_counters)
        try:
            descriptor = await asyncio.to_thread(workspace.create)
            write_task(workspace.path, assignment)
            runner = await RunnerProcess.start(self.runner_argv, workspace.path, self.environment, keep_open=descriptor)
        except OSError as error:
            return classify(error)

        async def report(request: ReportStageRequest) -> None:
            if await delivery.report(request):
                await remove_retired(request.retired_checkpoint_uris, assignment.output_uri)

        try:
            await self._follow(runner, lease, Relay(lease, report))
        finally:
            await runner.close()
        return self._outcome(runner, lease, workspace.path, watch)

    async def _follow(self, runner: RunnerProcess, lease: Lease, relay: Relay) -> None:
        """Returns once the runner has left and everything that it said has been passed on."""
        async with asyncio.TaskGroup() as tasks:
            watchers = [
                tasks.create_task(_kill_when_ended(runner, lease)),
                tasks.create_task(self._stop_after(self.drain.requested, runner)),
                tasks.create_task(self._stop_after(lease.pause_asked, runner)),
            ]
            tasks.create_task(relay.run())
            async for message in runner.messages():
                relay.take(message)
            relay.close()
            for watcher in watchers:
                watcher.cancel()

    async def _stop_after(self, wish: asyncio.Event, runner: RunnerProcess) -> None:
        await wish.wait()
        runner.ask_to_stop()
        try:
            async with asyncio.timeout(self.drain_grace):
                await self.drain.at_once.wait()
        except TimeoutError:
            _log.warning("the runner did not stop within %.0f s", self.drain_grace)
        runner.kill()

    def _must_stop(self, lease: Lease) -> bool:
        return self.drain.requested.is_set() or lease.pause_asked.is_set()

    def _outcome(self, runner: RunnerProcess, lease: Lease, work_dir: Path, watch: OomWatch) -> Outcome:
        try:
            outcome = read_outcome(work_dir)
        except (ValueError, OSError) as error:
            return classify(error, [work_dir])
        if outcome is not None:
            return outcome
        if self._must_stop(lease):
            return _preempted("it had not stopped in time")
        assert runner.returncode is not None, "it was waited for"
        return Death(runner.returncode, runner.was_killed, watch.has_killed(), work_dir, log_tail(work_dir)).failure()


async def _kill_when_ended(runner: RunnerProcess, lease: Lease) -> None:
    await lease.wait_ended()
    runner.kill()


def _preempted(how: str) -> Failure:
    return Failure(
        failure_class=FailureClass.FAILURE_CLASS_PREEMPTED,
        message=f"the stage was asked to stop, and {how}; it goes on from its last checkpoint",
    )
