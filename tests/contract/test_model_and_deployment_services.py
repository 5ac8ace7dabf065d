"""ModelService and DeploymentService through a real coordinator, filled by a whole job."""

from typing import Any

import grpc
import pytest

from luthier.v1 import deployment_service_pb2 as deployments
from luthier.v1 import model_service_pb2 as models
from luthier.v1.deployment_pb2 import Deployment
from luthier.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2 import CancelJobRequest
from luthier.v1.model_service_pb2_grpc import ModelServiceStub
from luthier.v1.worker_service_pb2 import FailStageRequest


async def get_deployment(coordinator: Any, id_or_name: str) -> Deployment:
    stub: Any = DeploymentServiceStub(coordinator.channel)
    request = deployments.GetDeploymentRequest(deployment_id=id_or_name)
    return (await stub.GetDeployment(request, metadata=coordinator.metadata)).deployment


async def test_a_finished_job_leaves_a_model_and_an_active_deployment(coordinator: Any, worker: Any) -> None:
    job = await worker.finish_job((await worker.create_job()).job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert job.metrics["evaluate.score"] == 0.5
    stub: Any = ModelServiceStub(coordinator.channel)
    reply = await stub.GetModel(models.GetModelRequest(model_id=job.model_id), metadata=coordinator.metadata)
    model = reply.model
    assert (model.job_id, model.name, model.base_model) == (job.job_id, "tickets", "tiny")
    assert list(model.formats) == ["peft", "merged", "triton"]
    assert model.artifact.uri == "file:///artifacts/export"
    assert model.dataset_version == "sha256:5eed", "of what its job was trained on"
    assert set(model.metrics) == {f"{name}.score" for name in ("preprocess", "train", "evaluate", "export")}
    deployment = await get_deployment(coordinator, job.deployment_id)
    assert deployment.state == Deployment.STATE_ACTIVE
    assert deployment.model_id == job.model_id
    assert deployment.triton_model == "tickets-1"
    assert deployment.HasField("active_time")


async def test_the_deployment_is_pending_while_its_stage_runs_and_failed_when_that_fails(
    coordinator: Any, worker: Any
) -> None:
    job = await worker.create_job(resources={"max_attempts": 1})
    assignment = await worker.run_until(job.job_id, "deploy")
    assert assignment.model_id
    assert (await get_deployment(coordinator, assignment.deployment_id)).state == Deployment.STATE_PENDING
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_UNAVAILABLE, message="Triton does not answer")
    stage = assignment.stage
    request = FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=failure)
    await worker.stub.FailStage(request, metadata=worker.metadata)
    deployment = await get_deployment(coordinator, assignment.deployment_id)
    assert deployment.state == Deployment.STATE_FAILED
    assert deployment.failure.failure_class == failure.failure_class
    assert deployment.failure.message.startswith("Triton does not answer (tried once")
    ended = await worker.get_job(job.job_id)
    assert ended.state == Job.STATE_FAILED
    assert ended.model_id == assignment.model_id


async def test_a_name_finds_the_newest_active_deployment(coordinator: Any, worker: Any) -> None:
    active = await worker.finish_job((await worker.create_job()).job_id)
    newer = await worker.create_job()
    assignment = await worker.run_until(newer.job_id, "deploy")
    assert (await get_deployment(coordinator, "desk")).deployment_id == active.deployment_id
    await worker.complete(assignment.stage)
    assert (await get_deployment(coordinator, "desk")).deployment_id == assignment.deployment_id


async def test_a_name_without_an_active_deployment_finds_the_newest_one(coordinator: Any, worker: Any) -> None:
    job = await worker.create_job()
    assignment = await worker.run_until(job.job_id, "deploy")
    await worker.jobs.CancelJob(CancelJobRequest(job_id=job.job_id), metadata=worker.metadata)
    found = await get_deployment(coordinator, "desk")
    assert found.deployment_id == assignment.deployment_id
    assert found.failure.failure_class == FailureClass.FAILURE_CLASS_CANCELLED


async def test_models_and_deployments_are_listed_newest_first_in_pages(coordinator: Any, worker: Any) -> None:
    jobs = [await worker.finish_job((await worker.create_job()).job_id) for _ in range(3)]
    model_stub: Any = ModelServiceStub(coordinator.channel)
    deployment_stub: Any = DeploymentServiceStub(coordinator.channel)
    first = await model_stub.ListModels(models.ListModelsRequest(page_size=2), metadata=coordinator.metadata)
    rest = await model_stub.ListModels(
        models.ListModelsRequest(page_size=2, page_token=first.next_page_token), metadata=coordinator.metadata
    )
    listed = [model.model_id for model in (*first.models, *rest.models)]
    assert listed == sorted((job.model_id for job in jobs), reverse=True)
    assert rest.next_page_token == ""
    page = await deployment_stub.ListDeployments(
        deployments.ListDeploymentsRequest(page_size=2), metadata=coordinator.metadata
    )
    others = await deployment_stub.ListDeployments(
        deployments.ListDeploymentsRequest(page_token=page.next_page_token), metadata=coordinator.metadata
    )
    found = [row.deployment_id for row in (*page.deployments, *others.deployments)]
    assert found == sorted((job.deployment_id for job in jobs), reverse=True)


@pytest.mark.parametrize("given", ["none", "a b", ""])
async def test_what_is_not_there_is_not_found_and_what_is_no_id_is_refused(coordinator: Any, given: str) -> None:
    expected = grpc.StatusCode.NOT_FOUND if given == "none" else grpc.StatusCode.INVALID_ARGUMENT
    model_stub: Any = ModelServiceStub(coordinator.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await model_stub.GetModel(models.GetModelRequest(model_id=given), metadata=coordinator.metadata)
    assert caught.value.code() is expected
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get_deployment(coordinator, given)
    assert caught.value.code() is expected
