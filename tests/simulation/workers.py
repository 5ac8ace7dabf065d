"""Workers of a simulated world: they claim, report, stall, die, freeze, leave, and say things twice."""

import json
from dataclasses import dataclass, field
from functools import partial

from coordinator.commands.claims import claim_stage
from coordinator.commands.ends import complete_stage, fail_stage
from coordinator.commands.gangs import leave_gang
from coordinator.commands.reports import report_stage
from coordinator.commands.workers import heartbeat, register_worker
from luthier.errors import ConflictError
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Artifact, Checkpoint, MetricPoint, Progress, StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import (
    CompleteStageResponse,
    GangPlace,
    StageAssignment,
    StageHeartbeat,
    StageVerdict,
)
from tests.simulation.faults import UnavailableError, failure_class
from tests.simulation.scheduler import Task, sleep
from tests.simulation.world import TERMS, World

LEASE_SECONDS = TERMS.lease.total_seconds()
HEARTBEAT_SECONDS = LEASE_SECONDS / 3
SELF_FENCE_SECONDS = 0.75 * LEASE_SECONDS
QUIET_HEARTBEAT_SECONDS = 300.0
"""Of a worker that holds nothing, when nothing goes wrong."""
NUM_CLAIMS = 3
NUM_KEPT = 2
"""Checkpoints."""

RESULTS = {"export": {"triton_model": "tickets-1", "formats": ["peft"]}, "deploy": {"triton_model": "tickets-1"}}


class WorkerDiedError(Exception):
    """The machine is gone."""


@dataclass
class Attempt:
    """What a worker believes that it holds."""

    assignment: StageAssignment
    ok_at: float
    """When it was last told that it holds it, by its own clock."""
    step: int = 0
    is_over: bool = False
    """Told to stop and to report nothing, or it has seen itself that the lease is gone."""
    is_pausing: bool = False
    checkpoints: list[str] = field(default_factory=list)
    """URIs on record, oldest first."""
    place: GangPlace | None = None
    """In its gang, once that has formed."""

    @property
    def stage_id(self) -> str:
        """Of the stage."""
        return self.assignment.stage.stage_id

    @property
    def fence(self) -> int:
        """Of the attempt."""
        return self.assignment.stage.fence

    @property
    def is_member(self) -> bool:
        """Whether somebody else leads it."""
        return self.assignment.gang.number > 0


class Worker:
    """One machine with one supervisor; it comes back under its name when it died or left."""

    def __init__(self, world: World, worker_id: str, kinds: frozenset[str]) -> None:
        self.world = world
        self.worker_id = worker_id
        self.kinds = kinds
        self.held: Attempt | None = None
        self.is_frozen = False
        self.is_leaving = False
        self.num_claims = 0
        self.task: Task | None = None

    async def run(self) -> None:
        """Lives, again and again."""
        world = self.world
        while True:
            self.held, self.is_frozen, self.is_leaving = None, False, False
            await world.call_until_answered(self.worker_id, self._register)
            pulse = world.scheduler.spawn(self._send_heartbeats(), f"{self.worker_id}'s heart")
            try:
                while not self.is_leaving:
                    assert self.task is not None, "run as a task"
                    await self._handle(await world.bus.pull(self.worker_id, self.task, self.kinds))
            except WorkerDiedError:
                world.note(self.worker_id, "died")
            world.scheduler.kill(pulse)
            world.bus.forget(self.worker_id)
            await sleep(1.0 if world.is_quiet else world.random.uniform(1.0, 40.0))

    async def _register(self) -> None:
        capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=sorted(self.kinds))
        await register_worker(self.world.store, self.worker_id, "here", capabilities)

    async def _handle(self, stage_id: str) -> None:
        world = self.world
        request_id = self._new_request_id()
        for _ in range(NUM_CLAIMS):
            try:
                reply = await world.call(
                    self.worker_id, lambda: claim_stage(world.lane(), stage_id, self.worker_id, request_id)
                )
                break
            except UnavailableError:
                await sleep(world.random.uniform(0.1, 1.0))
        else:
            world.bus.redeliver(stage_id, world.random.uniform(1.0, 5.0))
            return
        if reply.try_elsewhere:
            world.bus.redeliver(stage_id, world.random.uniform(2.0, 10.0))
        if not reply.HasField("assignment"):
            return
        attempt: Attempt | None = Attempt(reply.assignment, world.scheduler.now)
        if world.chance(world.faults.worker_dies):  # before it acknowledged the wake-up
            world.bus.redeliver(stage_id, world.random.uniform(5.0, 30.0))
            raise WorkerDiedError
        while attempt is not None:
            attempt = await self._run(attempt)

    async def _run(self, attempt: Attempt) -> Attempt | None:
        """One attempt, and the one that its end was answered with."""
        world = self.world
        world.note(self.worker_id, f"runs {attempt.stage_id} by fence {attempt.fence}")
        attempt.checkpoints = [checkpoint.uri for checkpoint in reversed(attempt.assignment.checkpoints)]
        assert world.files.issuperset(attempt.checkpoints), "an attempt was given a checkpoint that is gone"
        self.held = attempt
        following = None
        try:
            if await self._has_gathered(attempt):
                following = await (self._help(attempt) if attempt.is_member else self._attempt(attempt))
        except ConflictError as error:
            world.note(self.worker_id, f"refused: {error}")
        self.held = None
        return following

    def _new_request_id(self) -> str:
        self.num_claims += 1
        return f"{self.worker_id}-{self.num_claims}"

    async def _has_gathered(self, attempt: Attempt) -> bool:
        """Waits until the gang has formed; without one there is nothing to wait for."""
        world = self.world
        while attempt.place is None and attempt.assignment.HasField("gang"):
            await sleep(world.random.uniform(0.5, 3.0))
            if world.chance(world.faults.worker_dies / 4):
                raise WorkerDiedError
            self.is_leaving = self.is_leaving or world.chance(world.faults.worker_leaves / 4)
            if attempt.is_over:
                return False
            if self.is_leaving or attempt.is_pausing:
                await self._give_up(attempt, FailureClass.FAILURE_CLASS_PREEMPTED)
                return False
        if attempt.place is not None:
            found, known = (self.worker_id, attempt.place.num_workers), attempt.place.number
            assert world.places.setdefault((attempt.fence, known), found) == found, f"{found} is not alone as {known}"
            sizes = {size for (fence, _), (_, size) in world.places.items() if fence == attempt.fence}
            assert len(sizes) == 1, f"the gang of fence {attempt.fence} has formed as {sizes}"
            world.note(self.worker_id, f"is {known} of {attempt.place.num_workers}")
        return True

    async def _help(self, attempt: Attempt) -> None:
        """The part of a member: it reports nothing, and its end is not the stage's."""
        world, faults = self.world, self.world.faults
        for _ in range(world.random.randint(1, 6)):
            await sleep(world.random.uniform(0.5, 8.0))
            if world.chance(faults.worker_dies):
                raise WorkerDiedError
            if world.chance(faults.worker_freezes) and await self._freeze(attempt):
                break
            if attempt.is_over:
                return
            self.is_leaving = self.is_leaving or world.chance(faults.worker_leaves)
            if self.is_leaving or attempt.is_pausing:
                await self._leave(attempt, FailureClass.FAILURE_CLASS_PREEMPTED)
                return
        await self._leave(attempt, failure_class(world.random) if world.chance(faults.attempt_fails / 3) else None)

    async def _give_up(self, attempt: Attempt, how: FailureClass) -> None:
        await (self._leave(attempt, how) if attempt.is_member else self._fail(attempt, how))

    async def _leave(self, attempt: Attempt, how: FailureClass | None) -> None:
        world = self.world
        failure = None if how is None else Failure(failure_class=how, message="broken")
        for _ in range(1 + int(world.chance(0.2) and not world.is_quiet)):
            await world.call_until_answered(
                self.worker_id,
                lambda: leave_gang(world.store, TERMS, attempt.stage_id, attempt.fence, self.worker_id, failure),
            )

    async def _attempt(self, attempt: Attempt) -> Attempt | None:
        world, faults = self.world, self.world.faults
        stalls = world.chance(faults.runner_stalls)
        for step in range(1, world.random.randint(1, 6) + 1):
            await sleep(world.random.uniform(0.5, 8.0))
            if world.chance(faults.worker_dies):
                raise WorkerDiedError
            if world.chance(faults.worker_freezes) and await self._freeze(attempt):
                break
            while stalls and not attempt.is_over:
                await sleep(HEARTBEAT_SECONDS)
            if attempt.is_over:
                return None
            self.is_leaving = self.is_leaving or world.chance(faults.worker_leaves)
            if self.is_leaving or attempt.is_pausing:
                await self._fail(attempt, FailureClass.FAILURE_CLASS_PREEMPTED)
                return None
            attempt.step = step
            if world.chance(0.6):
                await self._report(attempt)
        if world.chance(faults.attempt_fails):
            await self._fail(attempt, failure_class(world.random))
            return None
        return await self._complete(attempt)

    async def _freeze(self, attempt: Attempt) -> bool:
        """SIGSTOP for a while. What wakes up kills its runner, or goes on; True: as a zombie that is just finishing."""
        world = self.world
        self.is_frozen = True
        await sleep(world.random.uniform(1.0, 4 * LEASE_SECONDS))
        self.is_frozen = False
        is_late = world.scheduler.now - attempt.ok_at > SELF_FENCE_SECONDS
        is_zombie = is_late and world.chance(world.faults.self_fencing_fails)
        attempt.is_over = attempt.is_over or (is_late and not is_zombie)
        return is_zombie

    async def _report(self, attempt: Attempt) -> None:
        """Metrics and a checkpoint. Files of retired ones go after the answer, never before."""
        world = self.world
        uri = f"{attempt.assignment.output_uri}/{attempt.step}"
        world.files.add(uri)
        checkpoint = Checkpoint(uri=uri, digest="sha256:00", step=attempt.step)
        points = [MetricPoint(step=attempt.step, values={"loss": 1.0 / attempt.step})]
        retired = [*attempt.checkpoints, uri][:-NUM_KEPT]
        await world.call_until_answered(
            self.worker_id,
            lambda: report_stage(world.store, attempt.stage_id, attempt.fence, points, [checkpoint], retired),
        )
        world.files.difference_update(retired)
        attempt.checkpoints = [*attempt.checkpoints, uri][-NUM_KEPT:]

    async def _fail(self, attempt: Attempt, how: FailureClass) -> None:
        world, failure = self.world, Failure(failure_class=how, message="broken")
        for _ in range(1 + int(world.chance(0.2) and not world.is_quiet)):
            await world.call_until_answered(
                self.worker_id,
                lambda: fail_stage(world.lane(), attempt.stage_id, attempt.fence, failure),
            )

    async def _complete(self, attempt: Attempt) -> Attempt | None:
        """Records the outputs; the attempt at the next stage if it comes with the answer."""
        world, stage = self.world, attempt.assignment.stage
        outputs = StageOutputs(
            artifact=Artifact(uri=attempt.assignment.output_uri, digest="sha256:00", num_bytes=1),
            metrics={"fence": float(stage.fence)},
            result_json=json.dumps(RESULTS.get(stage.kind, {})),
            gate_passed=world.is_quiet or world.chance(0.95),
        )
        wants_more = not self.is_leaving and world.chance(0.8)
        claim = (self.worker_id, self._new_request_id()) if wants_more else ("", "")

        async def complete(what: StageOutputs) -> CompleteStageResponse:
            return await complete_stage(world.lane(), stage.stage_id, stage.fence, what, *claim)

        asked_at = world.scheduler.now
        replies = [
            await world.call_until_answered(self.worker_id, partial(complete, outputs))
            for _ in range(1 + int(world.chance(0.2)))
        ]
        given = {reply.next.stage.fence for reply in replies if reply.HasField("next")}
        assert len(given) <= 1, f"{stage.stage_id} was answered with several attempts: {given}"
        if world.chance(0.1):
            others = StageOutputs(metrics={"fence": -1.0})
            try:
                await world.call_until_answered(self.worker_id, partial(complete, others))
            except ConflictError:
                pass
            else:
                raise AssertionError(f"{stage.stage_id} took other outputs for fence {stage.fence}")
        reply = replies[-1]
        if not reply.HasField("next"):
            return None
        world.note(self.worker_id, f"goes on with {reply.next.stage.stage_id}")
        return Attempt(reply.next, asked_at)

    async def _send_heartbeats(self) -> None:
        world = self.world
        while True:
            is_idle = world.is_quiet and self.held is None
            await sleep(QUIET_HEARTBEAT_SECONDS if is_idle else HEARTBEAT_SECONDS)
            while self.is_frozen:
                await sleep(1.0)
            attempt, pulses = self.held, []
            if attempt is not None:
                progress = Progress(step=attempt.step, num_steps=5)
                pulse = StageHeartbeat(stage_id=attempt.stage_id, fence=attempt.fence, progress=progress)
                pulse.address = "" if attempt.is_member else "here:1"
                pulses.append(pulse)
            try:
                beat = partial(heartbeat, world.store, self.worker_id, self.is_leaving, pulses, TERMS.lease)
                verdicts = await world.call(self.worker_id, beat)
            except UnavailableError:
                verdicts = []
            if attempt is None:
                continue
            for verdict in verdicts:
                attempt.is_over = verdict.verdict in (StageVerdict.VERDICT_CANCEL, StageVerdict.VERDICT_LOST_LEASE)
                attempt.is_pausing = verdict.verdict == StageVerdict.VERDICT_PAUSE
                if not attempt.is_over:
                    attempt.ok_at = world.scheduler.now
                    attempt.place = verdict.gang if verdict.gang.num_workers else attempt.place
            if world.scheduler.now - attempt.ok_at > SELF_FENCE_SECONDS:
                attempt.is_over = True
