"""One attempt at one stage, as the supervisor lives through it: runner started, relayed, ended, outcome recorded.

Three things end a runner early: its lease is gone (killed, nothing is reported), the worker drains and the grace is
over (killed, reported as PREEMPTED), or it dies by itself (reported with the reason).
"""

import asyncio
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from luthier.errors import InvalidRequestError, LuthierError
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Stage, StageOutputs
from luthier.v1.worker_service_pb2 import (
    CompleteStageRequest,
    FailStageRequest,
    ReportStageRequest,
    StageAssignment,
)
from workers.contract import Outcome, log_tail, read_outcome, write_task
from workers.coordinator_link import NO_ANSWER, Coordinator
from workers.drain import Drain
from workers.failures import classify
from workers.lease import Heartbeats, Lease, LeaseEnd
from workers.process import RunnerProcess
from workers.relay import Relay
from workers.workspace import Workspace

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0

_Response = TypeVar("_Response")


@dataclass(frozen=True)
class Attempts:
    """Runs attempts, one after the other."""

    coordinator: Coordinator
    heartbeats: Heartbeats
    drain: Drain
    runner_argv: Sequence[str]
    """The runner's command, without the arguments that belong to one attempt."""
    environment: Mapping[str, str] = field(repr=False)
    """Everything that a runner sees of the environment."""
    work_root: Path
    drain_grace: float
    """Seconds that a runner has to stop when the worker drains."""

    async def run(self, assignment: StageAssignment, claimed_at: float) -> None:
        """Lives through one attempt; `claimed_at` is when the claim was sent, in event loop time."""
        stage = assignment.stage
        workspace = Workspace(self.work_root, f"{stage.stage_id}-{stage.fence}")
        try:
            with self.heartbeats.hold(stage.stage_id, stage.fence, claimed_at) as lease:
                outcome = await self._execute(assignment, workspace, lease)
                if lease.ended is None:
                    await self._record(stage, outcome, lease)
        finally:
            await asyncio.to_thread(workspace.remove)

    async def _execute(self, assignment: StageAssignment, workspace: Workspace, lease: Lease) -> Outcome:
        try:
            descriptor = await asyncio.to_thread(workspace.create)
            write_task(workspace.path, assignment)
            runner = await RunnerProcess.start(self.runner_argv, workspace.path, self.environment, keep_open=descriptor)
        except OSError as error:
            return classify(error)
        try:
            await self._follow(runner, lease)
        finally:
            await runner.close()
        return self._outcome(runner, workspace.path)

    async def _follow(self, runner: RunnerProcess, lease: Lease) -> None:
        """Returns once the runner has left and everything that it said has been passed on."""
        relay = Relay(lease, lambda request: self._report(request, lease))
        async with asyncio.TaskGroup() as tasks:
            watchers = [tasks.create_task(_kill_when_ended(runner, lease)), tasks.create_task(self._drain(runner))]
            tasks.create_task(relay.run())
            async for message in runner.messages():
                relay.take(message)
            relay.close()
            for watcher in watchers:
                watcher.cancel()

    async def _drain(self, runner: RunnerProcess) -> None:
        await self.drain.requested.wait()
        runner.ask_to_stop()
        try:
            async with asyncio.timeout(self.drain_grace):
                await self.drain.at_once.wait()
        except TimeoutError:
            _log.warning("the runner did not stop within %.0f s", self.drain_grace)
        runner.kill()

    def _outcome(self, runner: RunnerProcess, work_dir: Path) -> Outcome:
        try:
            outcome = read_outcome(work_dir)
        except ValueError as error:
            return classify(error)
        if outcome is not None:
            return outcome
        if self.drain.requested.is_set():
            return Failure(
                failure_class=FailureClass.FAILURE_CLASS_PREEMPTED,
                message="the worker had to leave and the stage had not stopped in time; it goes on elsewhere",
            )
        return _died(runner, log_tail(work_dir))

    async def _report(self, request: ReportStageRequest, lease: Lease) -> None:
        try:
            await self._until_answered(lambda: self.coordinator.report_stage(request), lease)
        except InvalidRequestError as error:
            _log.error("stage %s: a report was refused and is dropped: %s", lease.stage_id, error)

    async def _record(self, stage: Stage, outcome: Outcome, lease: Lease) -> None:
        if isinstance(outcome, StageOutputs):
            done = CompleteStageRequest(stage_id=stage.stage_id, fence=stage.fence, outputs=outcome)
            try:
                await self._until_answered(lambda: self.coordinator.complete_stage(done), lease)
                return
            except InvalidRequestError as error:
                outcome = classify(error)
        _log.warning("stage %s, attempt %d failed: %s", stage.name, stage.attempt, outcome.message)
        failed = FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=outcome)
        await self._until_answered(lambda: self.coordinator.fail_stage(failed), lease)

    async def _until_answered(self, call: Callable[[], Awaitable[_Response]], lease: Lease) -> None:
        """Repeats `call` until the coordinator answers, the lease is gone, or the worker leaves at once.

        Any refusal but the following means that the attempt is not ours any more: its lease ends.

        Raises:
            InvalidRequestError: what was reported is unusable.
        """
        pause = _FIRST_PAUSE_SECONDS
        while lease.ended is None:
            try:
                await call()
                return
            except NO_ANSWER as error:
                _log.warning("stage %s: the coordinator did not take a report: %s", lease.stage_id, error)
                if self.drain.at_once.is_set():
                    return
            except InvalidRequestError:
                raise
            except LuthierError as error:
                _log.error("stage %s: the coordinator refused a report: %s", lease.stage_id, error)
                lease.end(LeaseEnd.LOST)
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


async def _kill_when_ended(runner: RunnerProcess, lease: Lease) -> None:
    await lease.wait_ended()
    runner.kill()


def _died(runner: RunnerProcess, tail: str) -> Failure:
    """The failure of a runner that left no outcome."""
    code = runner.returncode
    if code == -signal.SIGKILL and not runner.was_killed:
        return Failure(
            failure_class=FailureClass.FAILURE_CLASS_OUT_OF_MEMORY,
            message="the runner was killed from outside, most likely because the machine ran out of memory; "
            "lower training.per_device_train_batch_size or training.pack_length, or use a larger worker",
            detail=tail,
        )
    if code is not None and code < 0:
        how = f"was ended by {signal.Signals(-code).name}"
    else:
        how = f"left with exit status {code}"
    return Failure(
        failure_class=FailureClass.FAILURE_CLASS_INTERNAL,
        message=f"the runner {how} without saying how the stage ended; its last words are in the detail",
        detail=tail,
    )
