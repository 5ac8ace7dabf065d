"""Carries out the effects of lifecycle.py on the rows of one locked job. One function per effect."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coordinator.facts import (
    ActivateDeployment,
    Blame,
    Credit,
    Effect,
    Emit,
    FailDeployment,
    OpenDeployment,
    RegisterModel,
    WakeUp,
)
from coordinator.store.render import job_metrics
from coordinator.store.tables import DeploymentRow, DeploymentState, ModelRow, StageRow
from luthier.v1 import event_pb2 as events

if TYPE_CHECKING:
    from coordinator.change import JobChange


def carry_out(change: "JobChange", row: StageRow, effect: Effect) -> None:
    """Does what `effect` says; `row` is the stage that it came from."""
    _HANDLERS[type(effect)](change, row, effect)


def _emit(change: "JobChange", _: StageRow, effect: Emit) -> None:
    change.emit(effect.fact)


def _wake_up(change: "JobChange", row: StageRow, effect: WakeUp) -> None:
    change.wake_up(row, effect.delay_seconds)


def _blame(change: "JobChange", _: StageRow, effect: Blame) -> None:
    change.judgements.append((effect.worker_id, False))


def _credit(change: "JobChange", _: StageRow, effect: Credit) -> None:
    change.judgements.append((effect.worker_id, True))


def _register_model(change: "JobChange", _: StageRow, effect: RegisterModel) -> None:
    job = change.job
    artifact = effect.outputs.artifact
    model = ModelRow(
        model_id=change.make_id("model"),
        project_id=job.project_id,
        job_id=job.job_id,
        name=job.name,
        base_model=_spec(change)["base_model"],
        artifact_uri=artifact.uri,
        artifact_digest=artifact.digest,
        artifact_bytes=artifact.num_bytes,
        formats=[str(name) for name in result_of(effect.outputs.result_json).get("formats", [])],
        metrics=job_metrics(change.stages),
        dataset_version=_dataset_version(change),
        create_time=change.moment,
    )
    change.new_rows.append(model)
    job.model_id = model.model_id
    fact = events.ModelRegistered(model_id=model.model_id, name=model.name, dataset_version=model.dataset_version)
    change.emit(fact)


def _dataset_version(change: "JobChange") -> str:
    outputs = next((stage.outputs for stage in change.stages if stage.kind == "preprocess"), None)
    return str(result_of(outputs.result_json if outputs else "").get("dataset_version", ""))


def _open_deployment(change: "JobChange", _: StageRow, __: OpenDeployment) -> None:
    job, spec = change.job, _spec(change)
    assert job.model_id is not None, "deploy needs export, which registers the model"
    assert spec["deploy"] is not None, "the planner made a deploy stage of a job without the section"
    export = next(stage for stage in change.stages if stage.kind == "export")
    result = result_of(export.outputs.result_json if export.outputs else "")
    deployment = DeploymentRow(
        deployment_id=change.make_id("dep"),
        project_id=job.project_id,
        job_id=job.job_id,
        model_id=job.model_id,
        name=spec["deploy"]["name"] or job.name,
        triton_model=str(result.get("triton_model", "")),
        create_time=change.moment,
    )
    change.new_rows.append(deployment)
    change.deployment = deployment
    job.deployment_id = deployment.deployment_id


def _activate_deployment(change: "JobChange", _: StageRow, effect: ActivateDeployment) -> None:
    deployment = _deployment(change)
    deployment.triton_model = str(result_of(effect.outputs.result_json).get("triton_model", deployment.triton_model))
    deployment.state = DeploymentState.ACTIVE
    deployment.active_time = change.moment
    change.emit(
        events.DeploymentActivated(
            deployment_id=deployment.deployment_id,
            model_id=deployment.model_id,
            triton_model=deployment.triton_model,
        )
    )


def _fail_deployment(change: "JobChange", _: StageRow, effect: FailDeployment) -> None:
    deployment = _deployment(change)
    deployment.state = DeploymentState.FAILED
    deployment.failure = effect.failure
    change.emit(events.DeploymentFailed(deployment_id=deployment.deployment_id, failure=effect.failure))


_HANDLERS: dict[type[Effect], Callable[["JobChange", StageRow, Any], None]] = {
    Emit: _emit,
    WakeUp: _wake_up,
    Blame: _blame,
    Credit: _credit,
    RegisterModel: _register_model,
    OpenDeployment: _open_deployment,
    ActivateDeployment: _activate_deployment,
    FailDeployment: _fail_deployment,
}


def result_of(result_json: str) -> dict[str, Any]:
    """A stage's typed result. It was checked to be an object, or empty, when it was recorded."""
    result: dict[str, Any] = json.loads(result_json or "{}")
    return result


def _deployment(change: "JobChange") -> DeploymentRow:
    assert change.deployment is not None, "a deploy stage that was queued has a deployment"
    return change.deployment


def _spec(change: "JobChange") -> dict[str, Any]:
    """The job's spec as JSON: checked when the job was accepted, and written by ourselves with every field."""
    spec: dict[str, Any] = json.loads(change.job.spec_json)
    return spec
