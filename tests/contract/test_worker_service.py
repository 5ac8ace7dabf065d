"""WorkerService through a real coordinator: claims, verdicts, results, and what a stale fence gets."""

import json
from typing import Any

import grpc
import pytest

from luthier.v1 import worker_service_pb2 as pb
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2 import CancelJobRequest, ListJobMetricsRequest, PauseJobRequest, ResumeJobRequest
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Stage
from luthier.v1.worker_pb2 import Worker


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_registering_tells_the_lease_and_is_repeatable(worker: Any) -> None:
    first, again = await worker.register(), await worker.register()
    assert first.worker.state == again.worker.state == Worker.STATE_READY
    assert first.lease.ToTimedelta().total_seconds() == 6.0
    assert first.heartbeat_interval.ToTimedelta() == first.lease.ToTimedelta() / 3


async def test_an_assignment_says_everything_that_an_attempt_needs(worker: Any) -> None:
    job = await worker.create_job()
    assignment = await worker.run_until(job.job_id, "train")
    assert assignment.stage.attempt == 1
    assert assignment.stage.state == Stage.STATE_RUNNING
    assert assignment.project_id == "default"
    assert assignment.job_name == "tickets"
    assert assignment.spec_json == job.spec_json
    assert assignment.inputs["preprocess"].metrics["score"] == 0.5
    assert assignment.output_uri.endswith(f"default/{job.job_id}/train/1-{assignment.stage.fence}")
    assert (await worker.get_job(job.job_id)).state == Job.STATE_RUNNING


async def test_a_repeated_claim_gets_the_same_assignment_and_another_one_gets_none(worker: Any) -> None:
    job = await worker.create_job()
    first = await worker.claim(job.job_id, "preprocess")
    again = await worker.claim(job.job_id, "preprocess")
    other = await worker.claim(job.job_id, "preprocess", request_id="claim-2")
    assert first.assignment == again.assignment
    assert not other.HasField("assignment")


async def test_a_stage_that_still_waits_cannot_be_claimed(worker: Any) -> None:
    job = await worker.create_job()
    assert not (await worker.claim(job.job_id, "train")).HasField("assignment")


async def test_only_a_registered_worker_that_can_run_it_may_claim(worker: Any) -> None:
    job = await worker.create_job(resources={"worker_class": "gpu"})
    assert await code_of(worker.claim(job.job_id, "preprocess", worker_id="w-2")) is grpc.StatusCode.NOT_FOUND
    assert await code_of(worker.claim(job.job_id, "train")) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_draining_worker_gets_nothing_new(worker: Any) -> None:
    job = await worker.create_job()
    request = pb.HeartbeatRequest(worker_id=worker.worker_id, is_draining=True)
    await worker.stub.Heartbeat(request, metadata=worker.metadata)
    assert not (await worker.claim(job.job_id, "preprocess")).HasField("assignment")


async def test_a_heartbeat_renews_the_lease_and_shows_progress(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    first = await worker.heartbeat(stage, step=1, num_steps=9, message="tokenize")
    second = await worker.heartbeat(stage, step=2, num_steps=9, message="tokenize")
    assert first.verdict == second.verdict == pb.StageVerdict.VERDICT_OK
    assert second.lease_until.ToDatetime() > first.lease_until.ToDatetime()
    assert (await worker.get_job(job.job_id)).stages[0].progress.step == 2


async def test_a_heartbeat_is_told_of_cancellation_and_of_a_lost_lease(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    stale = Stage(stage_id=stage.stage_id, fence=stage.fence - 1)
    assert (await worker.heartbeat(stale)).verdict == pb.StageVerdict.VERDICT_LOST_LEASE
    await worker.jobs.CancelJob(CancelJobRequest(job_id=job.job_id), metadata=worker.metadata)
    assert (await worker.heartbeat(stage)).verdict == pb.StageVerdict.VERDICT_CANCEL


async def test_a_heartbeat_is_told_of_a_pause_and_keeps_the_lease(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    before = await worker.heartbeat(stage)
    await worker.jobs.PauseJob(PauseJobRequest(job_id=job.job_id), metadata=worker.metadata)
    verdict = await worker.heartbeat(stage)
    assert verdict.verdict == pb.StageVerdict.VERDICT_PAUSE
    assert verdict.lease_until.ToDatetime() > before.lease_until.ToDatetime()
    await worker.jobs.ResumeJob(ResumeJobRequest(job_id=job.job_id), metadata=worker.metadata)
    assert (await worker.heartbeat(stage)).verdict == pb.StageVerdict.VERDICT_OK


async def test_a_failed_attempt_goes_to_another_worker_first(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    await worker.fail(stage, FailureClass.FAILURE_CLASS_LOST_WORKER)
    alone = await worker.claim(job.job_id, "preprocess", request_id="claim-2")
    assert alone.assignment.stage.attempt == 2
    await worker.fail(alone.assignment.stage, FailureClass.FAILURE_CLASS_PREEMPTED)
    stage = (await worker.claim(job.job_id, "preprocess", request_id="claim-3")).assignment.stage
    await worker.fail(stage, FailureClass.FAILURE_CLASS_LOST_WORKER)
    await worker.register("worker-2")
    refused = await worker.claim(job.job_id, "preprocess", request_id="claim-4")
    assert (refused.HasField("assignment"), refused.try_elsewhere) == (False, False)  # the back-off is not over
    taken = None
    while taken is None or not taken.HasField("assignment"):
        refused = await worker.claim(job.job_id, "preprocess", request_id="claim-5")
        assert not refused.HasField("assignment")
        taken = await worker.claim(job.job_id, "preprocess", request_id="claim-6", worker_id="worker-2")
    assert taken.assignment.stage.attempt == 4


async def test_a_worker_that_fails_three_times_in_a_row_gets_nothing(worker: Any) -> None:
    for number in range(3):
        job = await worker.create_job()
        stage = (await worker.claim(job.job_id, "preprocess", request_id=f"claim-{number}")).assignment.stage
        await worker.fail(stage, FailureClass.FAILURE_CLASS_INTERNAL)
    job = await worker.create_job()
    refused = await worker.claim(job.job_id, "preprocess", request_id="claim-4")
    assert (refused.HasField("assignment"), refused.try_elsewhere) == (False, True)
    again = (await worker.register()).worker
    assert again.state == Worker.STATE_QUARANTINED
    assert again.num_failures_in_row == 3
    assert again.HasField("quarantined_until")
    await worker.heartbeat(stage)
    assert (await worker.claim(job.job_id, "preprocess", request_id="claim-5")).try_elsewhere


async def test_a_success_in_between_keeps_a_worker_in_service(worker: Any) -> None:
    for number in range(5):
        job = await worker.create_job()
        stage = (await worker.claim(job.job_id, "preprocess", request_id=f"claim-{number}")).assignment.stage
        if number == 2:
            await worker.complete(stage)
        else:
            await worker.fail(stage, FailureClass.FAILURE_CLASS_INTERNAL)
    assert (await worker.register()).worker.state == Worker.STATE_READY


async def test_running_out_of_memory_is_refitted(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    reply = await worker.fail(stage, FailureClass.FAILURE_CLASS_OUT_OF_MEMORY)
    assert (reply.stage.state, reply.stage.refit) == (Stage.STATE_QUEUED, 1)


async def test_retired_checkpoints_are_forgotten_and_a_late_repeat_brings_none_back(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.run_until(job.job_id, "train")).stage
    checkpoints = [Checkpoint(uri=f"file:///c/{step}", digest="sha256:11", step=step) for step in (1, 2, 3)]
    reports = [
        pb.ReportStageRequest(stage_id=stage.stage_id, fence=stage.fence, checkpoints=checkpoints[:2]),
        pb.ReportStageRequest(
            stage_id=stage.stage_id,
            fence=stage.fence,
            checkpoints=checkpoints[2:],
            retired_checkpoint_uris=["file:///c/1", "file:///c/unknown"],
        ),
    ]
    for report in (*reports, *reports):
        await worker.stub.ReportStage(report, metadata=worker.metadata)
    await worker.fail(stage, FailureClass.FAILURE_CLASS_PREEMPTED)
    again = (await worker.claim(job.job_id, "train", request_id="claim-2")).assignment
    assert [found.step for found in again.checkpoints] == [3, 2]
    later = pb.ReportStageRequest(
        stage_id=stage.stage_id, fence=again.stage.fence, retired_checkpoint_uris=["file:///c/2"]
    )
    await worker.stub.ReportStage(later, metadata=worker.metadata)
    await worker.fail(again.stage, FailureClass.FAILURE_CLASS_PREEMPTED)
    last = (await worker.claim(job.job_id, "train", request_id="claim-3")).assignment
    assert [found.step for found in last.checkpoints] == [3]


async def test_checkpoints_of_another_stage_are_not_forgotten(worker: Any) -> None:
    jobs = [await worker.create_job() for _ in range(2)]
    stages = [(await worker.run_until(job.job_id, "train")).stage for job in jobs]
    checkpoint = Checkpoint(uri="file:///c/1", digest="sha256:11", step=1)
    for stage in stages:
        request = pb.ReportStageRequest(stage_id=stage.stage_id, fence=stage.fence, checkpoints=[checkpoint])
        await worker.stub.ReportStage(request, metadata=worker.metadata)
    request = pb.ReportStageRequest(
        stage_id=stages[0].stage_id, fence=stages[0].fence, retired_checkpoint_uris=["file:///c/1"]
    )
    await worker.stub.ReportStage(request, metadata=worker.metadata)
    found = []
    for job, stage in zip(jobs, stages, strict=True):
        await worker.fail(stage, FailureClass.FAILURE_CLASS_PREEMPTED)
        again = (await worker.claim(job.job_id, "train", request_id="claim-2")).assignment
        found.append(len(again.checkpoints))
    assert found == [0, 1]


async def test_an_unknown_worker_s_heartbeat_is_refused(worker: Any) -> None:
    call = worker.stub.Heartbeat(pb.HeartbeatRequest(worker_id="w-2"), metadata=worker.metadata)
    assert await code_of(call) is grpc.StatusCode.NOT_FOUND


async def test_metrics_and_checkpoints_are_recorded_once(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.run_until(job.job_id, "train")).stage
    points = [MetricPoint(step=step, values={"loss": 1.0 / step}) for step in (1, 2)]
    points.append(MetricPoint(step=2, values={"validation_loss": float("nan")}))
    checkpoint = Checkpoint(uri="file:///c/2", digest="sha256:11", step=2)
    for _ in range(2):
        request = pb.ReportStageRequest(
            stage_id=stage.stage_id, fence=stage.fence, points=points, checkpoints=[checkpoint]
        )
        await worker.stub.ReportStage(request, metadata=worker.metadata)
    reply = await worker.jobs.ListJobMetrics(
        ListJobMetricsRequest(job_id=job.job_id, stage_name="train"), metadata=worker.metadata
    )
    assert [(row.stage_name, row.attempt, row.point.step) for row in reply.metrics] == [
        ("train", 1, 1),
        ("train", 1, 2),
    ]
    assert reply.metrics[1].point.values["loss"] == 0.5
    assert reply.metrics[1].point.values["validation_loss"] != reply.metrics[1].point.values["validation_loss"]
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_PREEMPTED, message="drained")
    request = pb.FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=failure)
    await worker.stub.FailStage(request, metadata=worker.metadata)
    again = (await worker.claim(job.job_id, "train", request_id="claim-2")).assignment
    assert [(found.step, found.attempt, found.fence) for found in again.checkpoints] == [(2, 1, stage.fence)]
    stale = pb.ReportStageRequest(stage_id=stage.stage_id, fence=stage.fence, points=points)
    call = worker.stub.ReportStage(stale, metadata=worker.metadata)
    assert await code_of(call) is grpc.StatusCode.FAILED_PRECONDITION


async def test_metrics_come_in_pages(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    points = [MetricPoint(step=step, values={"rows": step}) for step in range(5)]
    request = pb.ReportStageRequest(stage_id=stage.stage_id, fence=stage.fence, points=points)
    await worker.stub.ReportStage(request, metadata=worker.metadata)
    steps, token = [], ""
    while token or not steps:
        page = await worker.jobs.ListJobMetrics(
            ListJobMetricsRequest(job_id=job.job_id, page_size=2, page_token=token), metadata=worker.metadata
        )
        steps += [row.point.step for row in page.metrics]
        token = page.next_page_token
    assert steps == [0, 1, 2, 3, 4]


async def test_the_same_outputs_twice_are_one_result_and_others_are_refused(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    first = await worker.complete(stage)
    again = await worker.complete(stage)
    assert first == again
    assert first.stage.state == Stage.STATE_SUCCEEDED
    code = await code_of(worker.complete(stage, result_json='{"num_rows": 1}'))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("result_json", ["[]", "{", json.dumps({"x": "y" * 300_000})])
async def test_outputs_that_are_no_small_json_object_are_refused(worker: Any, result_json: str) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    code = await code_of(worker.complete(stage, result_json=result_json))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_final_failure_ends_the_job_with_its_reason(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_DATA, message="line 3 of tickets.jsonl is not JSON")
    for _ in range(2):
        request = pb.FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=failure)
        reply = await worker.stub.FailStage(request, metadata=worker.metadata)
        assert reply.stage.state == Stage.STATE_FAILED
    ended = await worker.get_job(job.job_id)
    assert ended.state == Job.STATE_FAILED
    assert ended.failure == failure
    assert {other.state for other in ended.stages[1:]} == {Stage.STATE_SKIPPED}
    cancel = worker.jobs.CancelJob(CancelJobRequest(job_id=job.job_id), metadata=worker.metadata)
    assert await code_of(cancel) is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_refused_gate_fails_the_job_and_exports_nothing(worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.run_until(job.job_id, "evaluate")).stage
    await worker.complete(stage, gate_passed=False, gate_reason="exact_match 0.1 is below 0.5")
    ended = await worker.get_job(job.job_id)
    assert [other.state for other in ended.stages[2:]] == [
        Stage.STATE_SUCCEEDED,
        Stage.STATE_SKIPPED,
        Stage.STATE_SKIPPED,
    ]
    assert ended.state == Job.STATE_FAILED
    assert ended.failure.failure_class == FailureClass.FAILURE_CLASS_GATE_REFUSED
    assert "exact_match 0.1 is below 0.5" in ended.failure.message
    assert ended.model_id == ""
