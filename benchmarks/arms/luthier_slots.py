"""The platform's arm: slots of workers, each with its own queue and channel as a supervisor has, and no-op attempts.

Arguments: how many jobs are in flight, how many in all, how many slots, and 1 if every step goes over the bus instead
of coming with the answer to the one before. Connections come as LUTHIER_ variables. Prints one JSON object:
`{"steps": [[job, number, start, end], ...]}`, seconds of the monotonic clock.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict

import grpc

from luthier.ids import new_id
from luthier.settings import WorkerSettings
from luthier.v1.job_service_pb2 import CreateJobRequest
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import (
    ClaimStageRequest,
    CompleteStageRequest,
    HeartbeatRequest,
    RegisterWorkerRequest,
    StageAssignment,
)
from workers.bus import StageQueue
from workers.coordinator_link import GrpcCoordinator

KINDS = ("preprocess", "train", "evaluate", "export", "deploy")
CLASSES = ("cpu",)
SPEC = {"name": "handoff", "base_model": "none", "data": {"path": "/dev/null"}, "deploy": {}}
HEARTBEAT_SECONDS = 5.0
CREATES_AT_ONCE = 16


class Steps:
    """What ran, and which jobs have ended."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, float, float]] = []
        self._ended: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def add(self, assignment: StageAssignment, start: float, end: float) -> None:
        """A step whose end is about to be recorded."""
        self.rows.append((assignment.stage.job_id, KINDS.index(assignment.stage.kind), start, end))

    def recorded(self, assignment: StageAssignment) -> None:
        """The coordinator has the outputs."""
        if assignment.stage.kind == KINDS[-1]:
            self._ended[assignment.stage.job_id].set()

    async def ended(self, job_id: str) -> None:
        """Returns once the job's last stage is on record."""
        await self._ended[job_id].wait()


async def slot(settings: WorkerSettings, steps: Steps, go: asyncio.Event, *, over_the_bus: bool) -> None:
    """One worker's way through stages: wake-up, claim, nothing, complete, and the stage that comes with the answer.

    A supervisor without a runner.
    """
    target, token = settings.coordinator, settings.internal_token.get_secret_value()
    worker_id = new_id("worker")
    queue = StageQueue(settings.nats_url.get_secret_value(), KINDS, CLASSES)
    async with GrpcCoordinator(target, token, 60.0) as coordinator, asyncio.TaskGroup() as tasks:
        capabilities = WorkerCapabilities(kinds=KINDS, worker_classes=CLASSES)
        await coordinator.register_worker(RegisterWorkerRequest(worker_id=worker_id, capabilities=capabilities))
        tasks.create_task(queue.run())
        tasks.create_task(heartbeats(coordinator, worker_id))
        await go.wait()
        while wake_up := await queue.next():
            request = ClaimStageRequest(
                stage_id=wake_up.ready.stage_id, worker_id=worker_id, request_id=new_id("claim")
            )
            response = await coordinator.claim_stage(request)
            await wake_up.settle()
            assignment = response.assignment if response.HasField("assignment") else None
            while assignment is not None:
                start = time.monotonic()
                steps.add(assignment, start, time.monotonic())
                done = CompleteStageRequest(
                    stage_id=assignment.stage.stage_id,
                    fence=assignment.stage.fence,
                    outputs=StageOutputs(gate_passed=True),
                )
                if not over_the_bus:
                    done.worker_id, done.claim_request_id = worker_id, new_id("claim")
                answer = await coordinator.complete_stage(done)
                steps.recorded(assignment)
                assignment = answer.next if answer.HasField("next") else None


async def heartbeats(coordinator: GrpcCoordinator, worker_id: str) -> None:
    """The worker's own heartbeat; no attempt lives long enough to need one."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        await coordinator.heartbeat(HeartbeatRequest(worker_id=worker_id), timeout=HEARTBEAT_SECONDS)


async def submit(jobs: JobServiceStub, settings: WorkerSettings) -> str:
    """A new job of five stages; returns its id."""
    metadata = (
        ("authorization", f"Bearer {settings.internal_token.get_secret_value()}"),
        ("x-luthier-project", "default"),
    )
    response = await jobs.CreateJob(CreateJobRequest(spec_json=json.dumps(SPEC)), metadata=metadata, timeout=60)
    return str(response.job.job_id)


async def run(num_in_flight: int, num_jobs: int, num_slots: int, over_the_bus: int) -> None:
    """Has `num_in_flight` jobs waiting, lets the slots go, and submits a further job whenever one has ended."""
    settings = WorkerSettings()
    steps, go = Steps(), asyncio.Event()
    async with grpc.aio.insecure_channel(settings.coordinator) as channel:
        jobs = JobServiceStub(channel)
        gate = asyncio.Semaphore(CREATES_AT_ONCE)

        async def create() -> str:
            async with gate:
                return await submit(jobs, settings)

        async def keep_going(job_id: str, num_further: int) -> None:
            await steps.ended(job_id)
            for _ in range(num_further):
                await steps.ended(await create())

        slots = [
            asyncio.create_task(slot(settings, steps, go, over_the_bus=bool(over_the_bus))) for _ in range(num_slots)
        ]
        first = await asyncio.gather(*(create() for _ in range(num_in_flight)))
        go.set()
        further = num_jobs // num_in_flight - 1
        ending = asyncio.gather(*(keep_going(job_id, further) for job_id in first))
        await asyncio.wait([ending, *slots], return_when=asyncio.FIRST_COMPLETED)
        for task in slots:
            if task.done():
                await task
        await ending
    print(json.dumps({"steps": steps.rows}), flush=True)


if __name__ == "__main__":
    asyncio.run(run(*map(int, sys.argv[1:])))
