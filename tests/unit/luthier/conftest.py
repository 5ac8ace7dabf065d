"""A small platform on a real socket: it keeps a log of events and can break a stream wherever a test wants it to."""

import json
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest

from luthier.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    dataset_service_pb2,
    dataset_service_pb2_grpc,
    dead_letter_pb2,
    deployment_pb2,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    stage_pb2,
    worker_pb2,
)

MINIMAL = {"name": "tickets", "base_model": "smollm2-135m-instruct", "data": {"path": "/data/train.jsonl"}}


def log_of(num_events: int) -> list[event_pb2.Event]:
    """Events 1 to `num_events` of one job."""
    return [
        event_pb2.Event(
            event_id=f"evt_{n}",
            sequence=n,
            project_id="prj_1",
            job_id="job_1",
            stage_queued=event_pb2.StageQueued(stage_id="stg_1", stage_name="train"),
        )
        for n in range(1, num_events + 1)
    ]


@dataclass
class Platform(
    job_service_pb2_grpc.JobServiceServicer,
    event_service_pb2_grpc.EventServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
    dataset_service_pb2_grpc.DatasetServiceServicer,
    deployment_service_pb2_grpc.DeploymentServiceServicer,
    inference_service_pb2_grpc.InferenceServiceServicer,
    admin_service_pb2_grpc.AdminServiceServicer,
):
    """What the gateway looks like from outside."""

    log: list[event_pb2.Event] = field(default_factory=lambda: log_of(10))
    num_jobs: int = 5
    requests: list = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """How many events each connection delivers before it breaks; empty: no more breaks."""
    end_code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    refusals: list[tuple[grpc.StatusCode, str]] = field(default_factory=list)
    """Answers of the next unary calls."""
    job: job_pb2.Job | None = None
    """What GetJob and the end of WatchJob show; absent: a job that has succeeded."""
    chunks: list[inference_service_pb2.ChatResponse] = field(default_factory=list)

    def _note(self, request, context):
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        if self.refusals:
            context.abort(*self.refusals.pop(0))

    def _job(self, state=job_pb2.Job.STATE_RUNNING, job_id="job_1"):
        return job_pb2.Job(job_id=job_id, name="tickets", state=state, spec_json=json.dumps(MINIMAL))

    def CreateJob(self, request, context):
        self._note(request, context)
        return job_service_pb2.CreateJobResponse(job=self._job(job_pb2.Job.STATE_PENDING))

    def GetJob(self, request, context):
        self._note(request, context)
        return job_service_pb2.GetJobResponse(job=self.job or self._job(job_pb2.Job.STATE_SUCCEEDED, request.job_id))

    def CancelJob(self, request, context):
        self._note(request, context)
        return job_service_pb2.CancelJobResponse(job=self._job(job_pb2.Job.STATE_CANCELLED))

    def PauseJob(self, request, context):
        self._note(request, context)
        return job_service_pb2.PauseJobResponse(job=self._job(job_pb2.Job.STATE_RUNNING))

    def ResumeJob(self, request, context):
        self._note(request, context)
        return job_service_pb2.ResumeJobResponse(job=self._job(job_pb2.Job.STATE_PENDING))

    def ListJobs(self, request, context):
        self._note(request, context)
        start = int(request.page_token or 0)
        end = min(start + min(request.page_size, 2), self.num_jobs)
        return job_service_pb2.ListJobsResponse(
            jobs=[self._job(job_id=f"job_{n}") for n in range(start, end)],
            next_page_token=str(end) if end < self.num_jobs else "",
        )

    def ListJobMetrics(self, request, context):
        self._note(request, context)
        point = stage_pb2.MetricPoint(step=3, values={"loss": 0.5})
        metric = job_service_pb2.StageMetric(stage_name="train", attempt=1, point=point)
        return job_service_pb2.ListJobMetricsResponse(metrics=[metric])

    def _events(self, request, context):
        self.requests.append(request)
        budget = self.break_after.pop(0) if self.break_after else None
        for event in self.log:
            if event.sequence <= request.after_sequence:
                continue
            if budget == 0:
                context.abort(self.end_code, "gateway restarts")
            budget = budget - 1 if budget is not None else None
            yield event

    def WatchJob(self, request, context):
        yield job_service_pb2.WatchJobResponse(job=self._job())
        for event in self._events(request, context):
            yield job_service_pb2.WatchJobResponse(event=event)
        yield job_service_pb2.WatchJobResponse(job=self.job or self._job(job_pb2.Job.STATE_SUCCEEDED))

    def ListEvents(self, request, context):
        self._note(request, context)
        found = [event for event in self.log if event.sequence > request.after_sequence]
        return event_service_pb2.ListEventsResponse(events=found[:3], is_last_page=len(found) <= 3)

    def SubscribeEvents(self, request, context):
        yield event_service_pb2.SubscribeEventsResponse()
        for event in self._events(request, context):
            yield event_service_pb2.SubscribeEventsResponse(event=event)

    def GetModel(self, request, context):
        self._note(request, context)
        return model_service_pb2.GetModelResponse(
            model=model_pb2.Model(model_id=request.model_id, formats=["peft"], dataset_version="sha256:5eed")
        )

    def ListModels(self, request, context):
        self._note(request, context)
        return model_service_pb2.ListModelsResponse(models=[model_pb2.Model(model_id="mdl_1")])

    def _version(self):
        return dataset_service_pb2.DatasetVersion(
            dataset_version="sha256:5eed", num_datasets=2, num_bytes=7, job_ids=["job_1"], model_ids=["mdl_1", "mdl_2"]
        )

    def ListDatasetVersions(self, request, context):
        self._note(request, context)
        return dataset_service_pb2.ListDatasetVersionsResponse(dataset_versions=[self._version()])

    def PruneDatasetVersions(self, request, context):
        self._note(request, context)
        return dataset_service_pb2.PruneDatasetVersionsResponse(dataset_versions=[self._version()])

    def GetDeployment(self, request, context):
        self._note(request, context)
        active = deployment_pb2.Deployment(name=request.deployment_id, state=deployment_pb2.Deployment.STATE_ACTIVE)
        return deployment_service_pb2.GetDeploymentResponse(deployment=active)

    def ListDeployments(self, request, context):
        self._note(request, context)
        return deployment_service_pb2.ListDeploymentsResponse(deployments=[deployment_pb2.Deployment(name="tickets")])

    def ListWorkers(self, request, context):
        self._note(request, context)
        quarantined = worker_pb2.Worker(worker_id="worker_1", state=worker_pb2.Worker.STATE_QUARANTINED)
        return admin_service_pb2.ListWorkersResponse(workers=[quarantined])

    def ReleaseWorker(self, request, context):
        self._note(request, context)
        ready = worker_pb2.Worker(worker_id=request.worker_id, state=worker_pb2.Worker.STATE_READY)
        return admin_service_pb2.ReleaseWorkerResponse(worker=ready)

    def _letter(self, dead_letter_id="dead_1"):
        relay = dead_letter_pb2.DeadLetter.SOURCE_RELAY
        return dead_letter_pb2.DeadLetter(dead_letter_id=dead_letter_id, source=relay, payload=b"\xff", reason="large")

    def ListDeadLetters(self, request, context):
        self._note(request, context)
        return admin_service_pb2.ListDeadLettersResponse(dead_letters=[self._letter()])

    def RetryDeadLetter(self, request, context):
        self._note(request, context)
        return admin_service_pb2.RetryDeadLetterResponse(dead_letter=self._letter(request.dead_letter_id))

    def Chat(self, request, context):
        self._note(request, context)
        yield from self.chunks


def serve(platform: Platform, port: int = 0) -> tuple[grpc.Server, int]:
    """A started server and its port."""
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    job_service_pb2_grpc.add_JobServiceServicer_to_server(platform, server)
    event_service_pb2_grpc.add_EventServiceServicer_to_server(platform, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(platform, server)
    dataset_service_pb2_grpc.add_DatasetServiceServicer_to_server(platform, server)
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(platform, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(platform, server)
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(platform, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def address(platform: Platform) -> Iterator[str]:
    """`host:port` of the platform."""
    server, port = serve(platform)
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
