"""Every call of the SDK: what is sent, what comes back. Nothing here does I/O.

A `Call` is one RPC. A `Flow` is a generator that yields calls and is sent their results; the sync and the async
client drive the same flows, so each operation is written once.
"""

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from luthier.client.convert import (
    dataset_version_of,
    dead_letter_of,
    deployment_of,
    event_of,
    job_of,
    metric_of,
    model_of,
    worker_of,
)
from luthier.client.types import (
    DatasetVersion,
    DeadLetter,
    Deployment,
    Event,
    Job,
    MetricPoint,
    Model,
    Worker,
)
from luthier.ids import new_id
from luthier.spec import JobSpec, canonical_json, load_job_file, parse_spec, resolve_paths
from luthier.v1 import (
    admin_service_pb2,
    dataset_service_pb2,
    deployment_service_pb2,
    event_service_pb2,
    job_service_pb2,
    model_service_pb2,
)

T = TypeVar("T")

JobLike = str | Path | Mapping[str, Any] | JobSpec
"""A path of a job file, its content, or a checked spec."""

_MAX_PAGE = 1000


@dataclass(frozen=True)
class Call:
    """One RPC with one request; its answer is one message or a stream of them."""

    method: str
    """`JobService/GetJob`"""
    request: Message
    response: type[Message]


Flow = Generator[Call, Any, T]


def create_job(spec: JobSpec, request_id: str | None) -> Flow[Job]:
    """Submits; the same request id creates one job only."""
    request = job_service_pb2.CreateJobRequest(spec_json=canonical_json(spec), request_id=request_id or new_id("req"))
    response = yield Call("JobService/CreateJob", request, job_service_pb2.CreateJobResponse)
    return job_of(response.job)


def get_job(job_id: str) -> Flow[Job]:
    """One job."""
    request = job_service_pb2.GetJobRequest(job_id=job_id)
    response = yield Call("JobService/GetJob", request, job_service_pb2.GetJobResponse)
    return job_of(response.job)


def list_jobs(limit: int) -> Flow[list[Job]]:
    """The newest jobs, newest first."""
    return _pages(
        "JobService/ListJobs",
        job_service_pb2.ListJobsRequest(),
        job_service_pb2.ListJobsResponse,
        lambda page: [job_of(job) for job in page.jobs],
        limit,
    )


def cancel_job(job_id: str) -> Flow[Job]:
    """Cancels; the job as it is then."""
    request = job_service_pb2.CancelJobRequest(job_id=job_id)
    response = yield Call("JobService/CancelJob", request, job_service_pb2.CancelJobResponse)
    return job_of(response.job)


def pause_job(job_id: str) -> Flow[Job]:
    """Pauses; the job as it is then."""
    request = job_service_pb2.PauseJobRequest(job_id=job_id)
    response = yield Call("JobService/PauseJob", request, job_service_pb2.PauseJobResponse)
    return job_of(response.job)


def resume_job(job_id: str) -> Flow[Job]:
    """Resumes; the job as it is then."""
    request = job_service_pb2.ResumeJobRequest(job_id=job_id)
    response = yield Call("JobService/ResumeJob", request, job_service_pb2.ResumeJobResponse)
    return job_of(response.job)


def list_metrics(job_id: str, stage: str | None, limit: int) -> Flow[list[MetricPoint]]:
    """Recorded metrics, oldest first."""
    return _pages(
        "JobService/ListJobMetrics",
        job_service_pb2.ListJobMetricsRequest(job_id=job_id, stage_name=stage or ""),
        job_service_pb2.ListJobMetricsResponse,
        lambda page: [metric_of(metric) for metric in page.metrics],
        limit,
    )


def list_events(after: int, job_id: str | None) -> Flow[list[Event]]:
    """Every event after a sequence number up to now, oldest first."""
    events: list[Event] = []
    is_last = False
    while not is_last:
        request = event_service_pb2.ListEventsRequest(
            after_sequence=events[-1].sequence if events else after, job_id=job_id or "", page_size=_MAX_PAGE
        )
        page = yield Call("EventService/ListEvents", request, event_service_pb2.ListEventsResponse)
        events.extend(event_of(event) for event in page.events)
        is_last = page.is_last_page or not page.events
    return events


def get_model(model_id: str) -> Flow[Model]:
    """One model."""
    request = model_service_pb2.GetModelRequest(model_id=model_id)
    response = yield Call("ModelService/GetModel", request, model_service_pb2.GetModelResponse)
    return model_of(response.model)


def list_models(limit: int) -> Flow[list[Model]]:
    """The newest models, newest first."""
    return _pages(
        "ModelService/ListModels",
        model_service_pb2.ListModelsRequest(),
        model_service_pb2.ListModelsResponse,
        lambda page: [model_of(model) for model in page.models],
        limit,
    )


def get_deployment(deployment: str) -> Flow[Deployment]:
    """One deployment, by id or name."""
    request = deployment_service_pb2.GetDeploymentRequest(deployment_id=deployment)
    response = yield Call("DeploymentService/GetDeployment", request, deployment_service_pb2.GetDeploymentResponse)
    return deployment_of(response.deployment)


def list_deployments(limit: int) -> Flow[list[Deployment]]:
    """The newest deployments, newest first."""
    return _pages(
        "DeploymentService/ListDeployments",
        deployment_service_pb2.ListDeploymentsRequest(),
        deployment_service_pb2.ListDeploymentsResponse,
        lambda page: [deployment_of(deployment) for deployment in page.deployments],
        limit,
    )


def list_dataset_versions() -> Flow[list[DatasetVersion]]:
    """Versions of datasets, those used last first."""
    request = dataset_service_pb2.ListDatasetVersionsRequest()
    response = yield Call(
        "DatasetService/ListDatasetVersions", request, dataset_service_pb2.ListDatasetVersionsResponse
    )
    return [dataset_version_of(version) for version in response.dataset_versions]


def prune_dataset_versions(unused_for: timedelta, dry_run: bool) -> Flow[list[DatasetVersion]]:
    """Deletes those that nobody has; what was deleted, or would be."""
    request = dataset_service_pb2.PruneDatasetVersionsRequest(unused_for=unused_for, dry_run=dry_run)
    response = yield Call(
        "DatasetService/PruneDatasetVersions", request, dataset_service_pb2.PruneDatasetVersionsResponse
    )
    return [dataset_version_of(version) for version in response.dataset_versions]


def list_workers(limit: int) -> Flow[list[Worker]]:
    """Workers of the installation, those heard of last first."""
    return _pages(
        "AdminService/ListWorkers",
        admin_service_pb2.ListWorkersRequest(),
        admin_service_pb2.ListWorkersResponse,
        lambda page: [worker_of(worker) for worker in page.workers],
        limit,
    )


def release_worker(worker_id: str) -> Flow[Worker]:
    """Ends a quarantine."""
    request = admin_service_pb2.ReleaseWorkerRequest(worker_id=worker_id)
    response = yield Call("AdminService/ReleaseWorker", request, admin_service_pb2.ReleaseWorkerResponse)
    return worker_of(response.worker)


def list_dead_letters(limit: int, include_retried: bool) -> Flow[list[DeadLetter]]:
    """Dead letters of the installation, newest first."""
    return _pages(
        "AdminService/ListDeadLetters",
        admin_service_pb2.ListDeadLettersRequest(include_retried=include_retried),
        admin_service_pb2.ListDeadLettersResponse,
        lambda page: [dead_letter_of(letter) for letter in page.dead_letters],
        limit,
    )


def retry_dead_letter(dead_letter_id: str) -> Flow[DeadLetter]:
    """Has it handled again."""
    request = admin_service_pb2.RetryDeadLetterRequest(dead_letter_id=dead_letter_id)
    response = yield Call("AdminService/RetryDeadLetter", request, admin_service_pb2.RetryDeadLetterResponse)
    return dead_letter_of(response.dead_letter)


def spec_of(job: JobLike) -> JobSpec:
    """The checked spec of anything that describes a job. Relative paths count from the job file's folder, or from
    the working directory when there is no file.

    Raises:
        InvalidSpecError: with every fault.
    """
    if isinstance(job, JobSpec):
        return resolve_paths(job, Path.cwd())
    if isinstance(job, Mapping):
        return resolve_paths(parse_spec(json.dumps(job, default=str)), Path.cwd())
    return load_job_file(Path(job))


def _pages(
    method: str, request: Any, response: type[Message], items_of: Callable[[Any], list[T]], limit: int
) -> Flow[list[T]]:
    items: list[T] = []
    while len(items) < limit:
        request.page_size = min(limit - len(items), _MAX_PAGE)
        page = yield Call(method, request, response)
        items.extend(items_of(page))
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return items[:limit]
