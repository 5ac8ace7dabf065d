"""A worker played by the test, over the same gRPC as a real one."""

import json
from typing import Any

import pytest

from luthier.v1 import worker_service_pb2 as pb
from luthier.v1.failure_pb2 import Failure
from luthier.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.stage_pb2 import Artifact, Progress, StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub

KINDS = ["preprocess", "train", "evaluate", "export", "deploy"]
SPEC = {"name": "tickets", "base_model": "tiny", "data": {"path": "/data/tickets.jsonl"}, "deploy": {"name": "desk"}}
RESULTS = {
    "preprocess": {"dataset_version": "sha256:5eed"},
    "export": {"triton_model": "tickets-1", "formats": ["peft", "merged", "triton"]},
    "deploy": {"triton_model": "tickets-1", "url": "127.0.0.1:8001"},
}


class PlayedWorker:
    """Claims and ends stages as the test says."""

    worker_id = "worker-1"

    def __init__(self, coordinator: Any) -> None:
        self.metadata = coordinator.metadata
        self.jobs: Any = JobServiceStub(coordinator.channel)
        self.stub: Any = WorkerServiceStub(coordinator.channel)

    async def register(self, worker_id: str = "worker-1") -> pb.RegisterWorkerResponse:
        capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=KINDS, num_cpus=2)
        request = pb.RegisterWorkerRequest(worker_id=worker_id, display_name="here", capabilities=capabilities)
        return await self.stub.RegisterWorker(request, metadata=self.metadata)

    async def create_job(self, **changes: Any) -> Any:
        request = CreateJobRequest(spec_json=json.dumps(SPEC | changes))
        return (await self.jobs.CreateJob(request, metadata=self.metadata)).job

    async def get_job(self, job_id: str) -> Any:
        return (await self.jobs.GetJob(GetJobRequest(job_id=job_id), metadata=self.metadata)).job

    async def claim(self, job_id: str, name: str, request_id: str = "claim-1", worker_id: str = "worker-1") -> Any:
        """The reply to a claim of the stage called `name`."""
        job = await self.get_job(job_id)
        stage_id = next(stage.stage_id for stage in job.stages if stage.name == name)
        request = pb.ClaimStageRequest(stage_id=stage_id, worker_id=worker_id, request_id=request_id)
        return await self.stub.ClaimStage(request, metadata=self.metadata)

    async def heartbeat(self, stage: Any, **progress: Any) -> Any:
        """The verdict on one attempt."""
        pulse = pb.StageHeartbeat(stage_id=stage.stage_id, fence=stage.fence, progress=Progress(**progress))
        request = pb.HeartbeatRequest(worker_id=self.worker_id, stages=[pulse])
        return (await self.stub.Heartbeat(request, metadata=self.metadata)).verdicts[0]

    async def complete(self, stage: Any, **changes: Any) -> Any:
        outputs = StageOutputs(
            artifact=Artifact(uri=f"file:///artifacts/{stage.name}", digest="sha256:00", num_bytes=1),
            metrics={"score": 0.5},
            result_json=json.dumps(RESULTS.get(stage.kind, {})),
            gate_passed=True,
        )
        for name, value in changes.items():
            if isinstance(value, Artifact):
                outputs.artifact.CopyFrom(value)
            else:
                setattr(outputs, name, value)
        request = pb.CompleteStageRequest(stage_id=stage.stage_id, fence=stage.fence, outputs=outputs)
        return await self.stub.CompleteStage(request, metadata=self.metadata)

    async def fail(self, stage: Any, failure_class: Any) -> Any:
        failure = Failure(failure_class=failure_class, message="broken")
        request = pb.FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=failure)
        return await self.stub.FailStage(request, metadata=self.metadata)

    async def run_until(self, job_id: str, last: str) -> Any:
        """Runs every stage before `last` and returns the claimed assignment of `last`."""
        for name in KINDS:
            assignment = (await self.claim(job_id, name)).assignment
            if name == last:
                return assignment
            await self.complete(assignment.stage)
        raise AssertionError(f"no stage {last}")

    async def finish_job(self, job_id: str) -> Any:
        assignment = await self.run_until(job_id, "deploy")
        await self.complete(assignment.stage)
        return await self.get_job(job_id)


@pytest.fixture
async def worker(coordinator: Any) -> PlayedWorker:
    """A registered worker."""
    played = PlayedWorker(coordinator)
    await played.register()
    return played
