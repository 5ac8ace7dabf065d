"""What both clients do, run against each."""

import json
from datetime import timedelta

import grpc
import pytest

from luthier import errors
from luthier.client import Job
from luthier.v1.event_pb2 import Event
from luthier.v1.inference_service_pb2 import ChatResponse, ToolCall

MINIMAL = {"name": "tickets", "base_model": "smollm2-135m-instruct", "data": {"path": "/data/train.jsonl"}}


def test_submit_sends_the_resolved_spec_with_a_key_and_a_request_id(client, platform):
    job = client.submit(MINIMAL, request_id="req_mine")
    assert (job.id, job.state) == ("job_1", "PENDING")
    assert job.spec["base_model"] == "smollm2-135m-instruct"
    assert platform.metadata["authorization"].startswith("Bearer lk_")
    assert platform.requests[0].request_id == "req_mine"
    assert '"learning_rate"' in platform.requests[0].spec_json


def test_submits_without_a_request_id_get_different_ones(client, platform):
    client.submit(MINIMAL)
    client.submit(MINIMAL)
    first, second = (request.request_id for request in platform.requests)
    assert first != second


def test_a_retried_submit_keeps_its_request_id(client, platform):
    platform.refusals = [(grpc.StatusCode.UNAVAILABLE, "restarting")] * 2
    client.submit(MINIMAL)
    assert len(platform.requests) == 3
    assert len({request.request_id for request in platform.requests}) == 1


def test_a_wrong_spec_is_refused_before_anything_is_sent(client, platform):
    with pytest.raises(errors.InvalidSpecError) as refused:
        client.submit({**MINIMAL, "trainning": {}})
    assert "training" in str(refused.value)
    assert not platform.requests


def test_a_path_is_read_and_its_data_found_beside_it(client, platform, tmp_path):
    (tmp_path / "job.yaml").write_text("name: a\nbase_model: b\ndata: {path: train.jsonl}\n")
    client.submit(tmp_path / "job.yaml")
    assert str(tmp_path / "train.jsonl") in platform.requests[0].spec_json


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, errors.NotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequestError),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.ConflictError),
        (grpc.StatusCode.UNAUTHENTICATED, errors.UnauthenticatedError),
        (grpc.StatusCode.PERMISSION_DENIED, errors.PermissionDeniedError),
        (grpc.StatusCode.DATA_LOSS, errors.InternalError),
    ],
)
def test_a_status_becomes_our_error_with_its_text(client, platform, code, kind):
    platform.refusals = [(code, "the reason")]
    with pytest.raises(kind, match="the reason"):
        client.get("job_1")


def test_lists_follow_the_pages_up_to_the_limit(client, platform):
    assert [job.id for job in client.list()] == [f"job_{n}" for n in range(5)]
    assert [job.id for job in client.list(limit=3)] == ["job_0", "job_1", "job_2"]


def test_wait_returns_the_finished_job(client):
    assert client.wait("job_1").state == "SUCCEEDED"


def test_watch_yields_snapshots_and_every_event_in_order(client):
    updates = client.stream("watch", "job_1")
    assert [update.sequence for update in updates if not isinstance(update, Job)] == list(range(1, 11))
    assert isinstance(updates[0], Job)
    assert updates[-1].is_terminal


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_watch_resumes_after_breaks_without_loss_or_repeat(client, platform, code):
    platform.break_after = [3, 0, 2]
    platform.end_code = code
    updates = client.stream("watch", "job_1")
    assert [update.sequence for update in updates if not isinstance(update, Job)] == list(range(1, 11))
    assert [request.after_sequence for request in platform.requests] == [0, 3, 3, 5]


def test_watch_lets_no_event_through_twice_when_the_server_repeats(client, platform):
    platform.log = [*platform.log[:4], *platform.log[2:]]
    updates = client.stream("watch", "job_1")
    assert [update.sequence for update in updates if not isinstance(update, Job)] == list(range(1, 11))


def test_watch_does_not_hide_a_real_error(client, platform):
    platform.break_after = [2]
    platform.end_code = grpc.StatusCode.NOT_FOUND
    with pytest.raises(errors.NotFoundError):
        client.stream("watch", "job_1")


def test_events_lists_all_pages_after_a_sequence(client):
    assert [event.sequence for event in client.stream("events", after=2)] == list(range(3, 11))


def test_following_events_notices_a_hole_in_the_log(client, platform):
    platform.log = [*platform.log[:4], *platform.log[6:]]
    with pytest.raises(errors.InternalError, match="jumped from 4 to 7"):
        client.stream("events", follow=True)


def test_following_a_silent_log_survives_a_break(client, platform):
    platform.break_after = [0, 0]
    platform.log = [*platform.log[:2], *platform.log[4:]]  # the hole ends the test
    with pytest.raises(errors.InternalError, match="jumped from 2 to 5"):
        client.stream("events", follow=True)
    assert [request.after_sequence for request in platform.requests] == [0, 0, 0]


def test_an_event_kind_of_a_newer_server_is_handed_on(client, platform):
    platform.log = [Event(sequence=1, event_id="evt_1")]
    (event,) = client.stream("events")
    assert (event.kind, dict(event.data)) == ("unknown", {})


def test_pause_and_resume(client):
    assert client.pause("job_1").state == "RUNNING"
    assert client.resume("job_1").state == "PENDING"


def test_metrics_models_and_deployments(client):
    (point,) = client.metrics("job_1", stage="train")
    assert (point.stage, point.step, dict(point.values)) == ("train", 3, {"loss": 0.5})
    assert client.nested("models", "get", "mdl_7").formats == ("peft",)
    assert [model.id for model in client.nested("models", "list")] == ["mdl_1"]
    assert client.nested("deployments", "get", "tickets").state == "ACTIVE"
    assert [deployment.name for deployment in client.nested("deployments", "list")] == ["tickets"]


def test_versions_of_datasets(client, platform):
    (version,) = client.nested("datasets", "versions")
    assert (version.version, version.num_datasets, version.last_use_time) == ("sha256:5eed", 2, None)
    assert (version.job_ids, version.model_ids) == (("job_1",), ("mdl_1", "mdl_2"))
    assert client.nested("datasets", "prune", timedelta(days=2), dry_run=True) == [version]
    assert (platform.requests[-1].unused_for.seconds, platform.requests[-1].dry_run) == (2 * 86_400, True)


def test_workers_and_dead_letters(client):
    assert [worker.state for worker in client.nested("workers", "list")] == ["QUARANTINED"]
    assert client.nested("workers", "release", "worker_9").id == "worker_9"
    (letter,) = client.nested("dead_letters", "list")
    assert (letter.source, letter.payload, letter.subject, letter.job_id) == ("RELAY", b"\xff", None, None)
    assert client.nested("dead_letters", "retry", "dead_9").id == "dead_9"


def test_chat_joins_the_pieces(client, platform):
    platform.chunks = [
        ChatResponse(delta="Hel"),
        ChatResponse(delta="lo", finish_reason="stop", num_prompt_tokens=4, num_completion_tokens=2),
    ]
    answer = client.chat("tickets", "Hi", temperature=0.5, seed=3)
    assert (answer.text, answer.finish_reason, answer.num_completion_tokens) == ("Hello", "stop", 2)
    sent = platform.requests[-1]
    assert [(message.role, message.content) for message in sent.messages] == [("user", "Hi")]
    assert (sent.temperature, sent.seed) == (0.5, 3)
    assert [chunk.text for chunk in client.stream("chat_stream", "tickets", "Hi")] == ["Hel", "lo"]


TOOL = {"type": "function", "function": {"name": "sky", "parameters": {"z": 1, "a": "Zürich"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "sky", "arguments": '{"b":1}'}}


def test_calls_come_back_in_the_form_in_which_they_are_sent_on(client, platform):
    last = ChatResponse(
        finish_reason="tool_calls", tool_calls=[ToolCall(id="c1", name="sky", arguments_json='{"b":1}')]
    )
    platform.chunks = [ChatResponse(delta="I look."), last]
    answer = client.chat("tickets", "sky?", tools=[TOOL], tool_choice="none")
    assert answer.message == {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}
    assert platform.requests[-1].tools_json == json.dumps([TOOL], ensure_ascii=False)
    assert platform.requests[-1].tool_choice == "none"
    assert [len(chunk.tool_calls) for chunk in client.stream("chat_stream", "tickets", "sky?")] == [0, 1]

    result = {"role": "tool", "tool_call_id": "c1", "name": "sky", "content": "fog"}
    asked = {"role": "user", "content": "sky?", "name": None}
    client.chat("tickets", [asked, {**answer.message, "content": None}, result])
    sent = platform.requests[-1]
    assert (sent.tools_json, sent.tool_choice) == ("", "auto")
    assert [message.role for message in sent.messages] == ["user", "assistant", "tool"]
    assert sent.messages[1].tool_calls[0] == last.tool_calls[0]
    assert (sent.messages[2].tool_call_id, sent.messages[2].name) == ("c1", "sky")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"prompt": ["hi"]}, r"messages\[0\] must be an object with role and content"),
        (
            {"prompt": [{"role": "user", "content": "a", "weight": 1}]},
            r"messages\[0\] has 'weight', which cannot be sent",
        ),
        ({"prompt": [{"role": "user", "content": ["a"]}]}, r"messages\[0\]\.content must be text"),
        ({"prompt": [{"role": "assistant", "tool_calls": CALL}]}, r"messages\[0\]\.tool_calls must be a list"),
        ({"prompt": [{"role": "assistant", "tool_calls": [{}]}]}, r"messages\[0\]\.tool_calls\[0\] must be"),
        ({"prompt": [{"role": "assistant", "tool_calls": [{**CALL, "type": "x"}]}]}, "type must be 'function'"),
        (
            {"prompt": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}]},
            r"messages\[0\]\.tool_calls\[0\]\.function\.arguments must be JSON text",
        ),
        ({"prompt": "hi", "tools": [{1, 2}]}, "tools cannot be written as JSON"),
        ({"prompt": "hi", "tools": [{"a": float("nan")}]}, "tools cannot be written as JSON"),
        ({"prompt": "hi", "tool_choice": TOOL}, "tool_choice must be 'auto' or 'none'"),
    ],
)
def test_what_cannot_be_sent_is_named_before_anything_is(client, platform, options, reason):
    with pytest.raises(errors.InvalidRequestError, match=reason):
        client.chat("tickets", **options)
    assert not platform.requests


def test_a_cut_off_answer_is_an_error(client, platform):
    platform.chunks = [ChatResponse(delta="Hel")]
    with pytest.raises(errors.InternalError, match="cut off"):
        client.chat("tickets", "Hi")


def test_nobody_there_is_said_with_the_remedy(client, platform, free_port):
    closed = type(client)(f"127.0.0.1:{free_port()}")
    with pytest.raises(errors.UnavailableError, match="luthier up"):
        closed.get("job_1")
    with pytest.raises(errors.UnavailableError, match="luthier up"):
        closed.stream("watch", "job_1")
    closed.close()
