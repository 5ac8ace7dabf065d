"""Commands as a script meets them: stdout, stderr, exit codes."""

import json

import grpc
import pytest

from luthier.artifacts import seal
from luthier.v1 import event_pb2, failure_pb2, job_pb2, stage_pb2
from luthier.v1.inference_service_pb2 import ChatResponse, ToolCall
from tests.bit_flip import files_of, flipped


def lines_of(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_validate_accepts_a_good_file_and_names_every_fault_of_a_bad_one(luthier, job_file):
    assert luthier("validate", job_file).exit_code == 0
    job_file.write_text('{"name": "a b", "base_modle": "x", "data": {"path": "p"}}')
    result = luthier("validate", job_file)
    assert result.exit_code == 2
    assert "base_model" in result.stderr
    assert "name" in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_validate_as_json_prints_the_file_with_all_defaults(luthier, job_file):
    document = json.loads(luthier("validate", job_file, "-o", "json").stdout)
    assert document["training"]["learning_rate"] == 2e-4


def test_plan_shows_the_stages_in_order(luthier, job_file):
    document = json.loads(luthier("plan", job_file, "--no-probe", "-o", "json").stdout)
    assert [stage["name"] for stage in document["stages"]] == ["preprocess", "train", "evaluate", "export"]
    job_file.write_text(json.dumps({**json.loads(job_file.read_text()), "deploy": {}}))
    document = json.loads(luthier("plan", job_file, "--no-probe", "-o", "json").stdout)
    assert document["stages"][-1] == {"name": "deploy", "kind": "deploy", "worker_class": "cpu", "needs": ["export"]}


def test_schema_is_a_json_schema(luthier):
    assert "base_model" in json.loads(luthier("schema").stdout)["properties"]


def test_submit_prints_the_id_alone_or_the_job(luthier, job_file):
    assert luthier("jobs", "submit", job_file).stdout == "job_1\n"
    assert json.loads(luthier("jobs", "submit", job_file, "-o", "json").stdout)["id"] == "job_1"


@pytest.mark.parametrize("command", [("validate",), ("plan", "--no-probe", "--no-look"), ("jobs", "submit")])
def test_a_field_that_does_nothing_is_told_and_the_job_goes_on(luthier, job_file, command):
    training = {"warmup_ratio": 0.2, "warmup_steps": 3}
    job_file.write_text(json.dumps({**json.loads(job_file.read_text()), "training": training}))
    result = luthier(*command, job_file)
    assert result.exit_code == 0
    assert "warning: training.warmup_ratio does nothing here: training.warmup_steps counts\n" in result.stderr
    assert "does nothing" not in result.stdout
    if command[0] == "plan":
        (warning,) = json.loads(luthier(*command, job_file, "-o", "json").stdout)["warnings"]
        assert warning.startswith("training.warmup_ratio")


def test_the_trace_of_a_job_begins_in_the_client(luthier, job_file, platform):
    luthier("jobs", "submit", job_file)
    _, trace_id, span_id, _ = platform.metadata["traceparent"].split("-")
    assert int(trace_id, 16)
    assert int(span_id, 16)


def test_submit_of_a_bad_file_sends_nothing(luthier, job_file, platform):
    job_file.write_text("name: x\n")
    assert luthier("jobs", "submit", job_file).exit_code == 2
    assert not platform.requests


def test_submit_and_wait_keeps_progress_off_stdout(luthier, job_file):
    result = luthier("jobs", "submit", job_file, "--wait", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["state"] == "SUCCEEDED"
    assert "train queued" in result.stderr


def test_get_as_json_has_the_agreed_fields(luthier, platform):
    failure = failure_pb2.Failure(failure_class=failure_pb2.FAILURE_CLASS_DATA, message="train.jsonl, line 3: no JSON")
    stage = stage_pb2.Stage(name="train", kind="train", state=stage_pb2.Stage.STATE_FAILED, attempt=2, failure=failure)
    stage.started_time.FromJsonString("2026-01-02T03:04:05Z")
    platform.job = job_pb2.Job(
        job_id="job_1", name="tickets", state=job_pb2.Job.STATE_FAILED, stages=[stage], metrics={"train.loss": 0.5}
    )
    document = json.loads(luthier("jobs", "get", "job_1", "-o", "json").stdout)
    assert {"id", "name", "state", "stages", "metrics", "model_id", "deployment"} <= set(document)
    assert (document["state"], document["model_id"], document["deployment"]) == ("FAILED", None, None)
    assert document["metrics"] == {"train.loss": 0.5}
    (shown,) = document["stages"]
    assert (shown["name"], shown["kind"], shown["state"], shown["attempt"]) == ("train", "train", "FAILED", 2)
    assert (shown["started_time"], shown["finished_time"]) == ("2026-01-02T03:04:05Z", None)
    assert shown["failure"]["failure_class"] == "DATA"
    text = luthier("jobs", "get", "job_1")
    assert text.exit_code == 0
    assert "FAILED" in text.stdout


def test_watching_a_job_that_fails_exits_with_one(luthier, platform):
    platform.job = job_pb2.Job(job_id="job_1", state=job_pb2.Job.STATE_FAILED)
    assert luthier("jobs", "watch", "job_1").exit_code == 1


def test_watch_as_json_is_one_update_a_line(luthier):
    updates = lines_of(luthier("jobs", "watch", "job_1", "-o", "json"))
    assert updates[0]["type"] == updates[-1]["type"] == "job"
    assert [update["sequence"] for update in updates if update["type"] == "event"] == list(range(1, 11))


def test_list_as_json_is_one_document(luthier):
    assert [job["id"] for job in json.loads(luthier("jobs", "list", "-o", "json").stdout)] == [
        f"job_{number}" for number in range(5)
    ]


def test_pause_and_resume_say_the_new_state(luthier):
    assert luthier("jobs", "pause", "job_1").stdout == "job_1 RUNNING\n"
    assert luthier("jobs", "resume", "job_1").stdout == "job_1 PENDING\n"
    assert json.loads(luthier("jobs", "pause", "job_1", "-o", "json").stdout)["state"] == "RUNNING"
    assert json.loads(luthier("jobs", "resume", "job_1", "-o", "json").stdout)["state"] == "PENDING"


@pytest.mark.parametrize(("state", "exit_code"), [("PAUSED", 0), ("SUCCEEDED", 0), ("CANCELLED", 1)])
def test_pause_and_wait_returns_when_nothing_runs_any_more(luthier, platform, state, exit_code):
    platform.job = job_pb2.Job(job_id="job_1", state=f"STATE_{state}")
    result = luthier("jobs", "pause", "job_1", "--wait")
    assert (result.stdout, result.exit_code) == (f"job_1 {state}\n", exit_code)


def test_cancel_says_the_new_state(luthier):
    assert luthier("jobs", "cancel", "job_1").stdout == "job_1 CANCELLED\n"


def test_logs_show_a_failure_with_its_detail_and_no_control_characters(luthier, platform):
    failure = failure_pb2.Failure(message="broke\x1b[2J", detail="Traceback:\n  line 1")
    failed = event_pb2.StageFailed(stage_name="train", attempt=1, failure=failure)
    platform.log = [event_pb2.Event(sequence=1, stage_failed=failed)]
    printed = luthier("jobs", "logs", "job_1").stdout
    assert "train failed" in printed
    assert "      line 1" in printed
    assert "\x1b" not in printed


def test_logs_of_an_unknown_job_are_an_error_not_an_empty_page(luthier, platform):
    platform.refusals = [(grpc.StatusCode.NOT_FOUND, "no job job_9 in this project")]
    result = luthier("jobs", "logs", "job_9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: no job job_9 in this project\n"


def test_events_start_after_the_given_sequence(luthier):
    assert [event["sequence"] for event in lines_of(luthier("events", "--since", "7", "-o", "json"))] == [8, 9, 10]


def test_chat_streams_text_without_control_characters(luthier, platform):
    platform.chunks = [ChatResponse(delta="Hel\x1b[1m"), ChatResponse(delta="lo", finish_reason="stop")]
    assert luthier("chat", "tickets", "Hi").stdout == "Hel[1mlo\n"


def test_chat_reads_the_prompt_from_stdin(luthier, platform):
    platform.chunks = [ChatResponse(delta="ok", finish_reason="stop")]
    answer = json.loads(luthier("chat", "tickets", "-", "-o", "json", input="a question").stdout)
    assert (answer["text"], answer["finish_reason"]) == ("ok", "stop")
    assert platform.requests[-1].messages[0].content == "a question"


def test_versions_of_datasets_are_listed(luthier):
    result = luthier("datasets", "versions")
    assert all(text in result.stdout for text in ("sha256:5eed", "job_1", "mdl_1, mdl_2"))
    (version,) = json.loads(luthier("datasets", "versions", "-o", "json").stdout)
    assert (version["version"], version["num_bytes"], version["last_use_time"]) == ("sha256:5eed", 7, None)


@pytest.mark.parametrize(
    ("arguments", "days", "deletes"),
    [((), 30, False), (("--days", "0"), 0, False), (("--days", "7", "--yes"), 7, True)],
)
def test_nothing_is_pruned_without_yes(luthier, platform, arguments, days, deletes):
    result = luthier("datasets", "prune", *arguments)
    assert (platform.requests[-1].unused_for.seconds, platform.requests[-1].dry_run) == (days * 86_400, not deletes)
    assert result.stderr == ("deleted" if deletes else "nothing deleted; --yes deletes") + " 1 versions, 7 bytes\n"
    document = json.loads(luthier("datasets", "prune", *arguments, "-o", "json").stdout)
    assert (document["deleted"], document["dataset_versions"][0]["version"]) == (deletes, "sha256:5eed")


def test_a_refused_prune_is_told(luthier, platform):
    platform.refusals = [(grpc.StatusCode.FAILED_PRECONDITION, "job job_1 preprocesses just now")]
    result = luthier("datasets", "prune", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: job job_1 preprocesses just now\n"


def test_chat_offers_tools_and_prints_their_calls(luthier, platform, tmp_path):
    tools = [{"type": "function", "function": {"name": "sky"}}]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    call = ToolCall(id="c1", name="sky", arguments_json='{"city": "Zürich\x1b"}')
    platform.chunks = [ChatResponse(delta="I look."), ChatResponse(finish_reason="tool_calls", tool_calls=[call])]
    result = luthier("chat", "tickets", "sky?", "--tools", tmp_path / "tools.json")
    text, printed = result.stdout.splitlines()
    assert (text, json.loads(printed)["name"]) == ("I look.", "sky")
    assert "\x1b" not in printed
    assert json.loads(platform.requests[-1].tools_json) == tools

    said = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "sky", "arguments": "{}"}}]}
    told = {"role": "tool", "tool_call_id": "c1", "content": "fog"}
    (tmp_path / "chat.json").write_text(json.dumps([{"role": "user", "content": "sky?"}, said, told]))
    arguments = ("--messages", tmp_path / "chat.json", "--tool-choice", "none", "-o", "json")
    document = json.loads(luthier("chat", "tickets", *arguments).stdout)
    assert document["tool_calls"] == [{"id": "c1", "name": "sky", "arguments": '{"city": "Zürich\x1b"}'}]
    assert (len(platform.requests[-1].messages), platform.requests[-1].tool_choice) == (3, "none")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "give either PROMPT or --messages FILE"),
        (("hi", "--messages", "list.json"), "give either PROMPT or --messages FILE"),
        (("hi", "--tools", "gone.json"), "--tools gone.json cannot be read: No such file"),
        (("hi", "--tools", "broken.json"), "--tools broken.json is not JSON"),
        (("hi", "--tools", "object.json"), "--tools object.json must hold a JSON list"),
        (("--messages", "object.json"), "--messages object.json must hold a JSON list"),
    ],
)
def test_chat_names_what_is_wrong_with_its_files(luthier, platform, tmp_path, monkeypatch, arguments, reason):
    for name, text in (("list", "[]"), ("broken", "["), ("object", "{}")):
        (tmp_path / f"{name}.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    result = luthier("chat", "tickets", *arguments)
    assert (result.exit_code, reason in result.stderr) == (2, True), result.stderr
    assert not platform.requests


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "list"),
        ("models", "get", "mdl_1"),
        ("deployments", "list"),
        ("deployments", "get", "tickets"),
        ("jobs", "list"),
        ("workers", "list"),
        ("workers", "release", "worker_1"),
        ("dead-letters", "list"),
        ("dead-letters", "retry", "dead_1"),
    ],
)
def test_things_are_shown_as_text_and_as_json(luthier, arguments):
    text = luthier(*arguments)
    assert text.exit_code == 0
    assert text.stdout.strip()
    assert json.loads(luthier(*arguments, "-o", "json").stdout)


def test_a_model_names_the_dataset_that_it_is_from(luthier):
    assert json.loads(luthier("models", "get", "mdl_1", "-o", "json").stdout)["dataset_version"] == "sha256:5eed"
    assert "sha256:5eed" in luthier("models", "get", "mdl_1").stdout


def test_a_dead_letter_shows_its_payload_to_programs_only(luthier, platform):
    (letter,) = json.loads(luthier("dead-letters", "list", "--retried", "-o", "json").stdout)
    assert (letter["id"], letter["source"], letter["payload"]) == ("dead_1", "RELAY", "/w==")
    assert platform.requests[-1].include_retried
    assert luthier("dead-letters", "retry", "dead_1").stdout == "dead_1 is handled again\n"


def test_a_released_worker_shows_its_state(luthier):
    assert "QUARANTINED" in luthier("workers", "list").stdout
    assert luthier("workers", "release", "worker_1").stdout == "worker_1 READY\n"


def test_the_data_report_of_a_job_that_has_none_yet_says_so(luthier, platform):
    stage = stage_pb2.Stage(name="preprocess", state=stage_pb2.Stage.STATE_RUNNING)
    platform.job = job_pb2.Job(job_id="job_1", stages=[stage])
    result = luthier("datasets", "report", "job_1")
    assert result.exit_code == 1
    assert "preprocess is RUNNING" in result.stderr


@pytest.mark.parametrize("source", ["rows.jsonl", "data/rows"])
def test_a_file_that_is_not_there_is_no_job(luthier, source):
    result = luthier("datasets", "report", source)
    assert result.exit_code == 2
    assert f"{source} does not exist" in result.stderr


def test_the_data_report_of_a_job_is_its_page(luthier, platform, tmp_path):
    (tmp_path / "report.md").write_text("# 12 rows\n")
    (tmp_path / "report.html").write_text("<h1>12 rows</h1>")
    (tmp_path / "train.arrow").write_bytes(b"rows")
    stage = stage_pb2.Stage(name="preprocess", state=stage_pb2.Stage.STATE_SUCCEEDED)
    stage.outputs.artifact.uri, stage.outputs.artifact.digest = str(tmp_path), seal(tmp_path).digest
    stage.outputs.result_json = '{"num_rows": {"train": 12}}'
    platform.job = job_pb2.Job(job_id="job_1", stages=[stage])
    assert "# 12 rows" in luthier("datasets", "report", "job_1").stdout
    document = json.loads(luthier("datasets", "report", "job_1", "-o", "json").stdout)
    assert document["num_rows"] == {"train": 12}
    page = tmp_path.parent / f"{tmp_path.name}.html"
    result = luthier("datasets", "report", "job_1", "--html", page)
    assert (result.stdout, page.read_text()) == ("", "<h1>12 rows</h1>")
    assert "cannot be written" in luthier("datasets", "report", "job_1", "--html", tmp_path).stderr
    for path in files_of(tmp_path):
        with flipped(path):
            result = luthier("datasets", "report", "job_1")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert str(path) in result.stderr.replace("\n", "")


@pytest.mark.slow
def test_the_data_report_of_a_file_is_made_by_the_workers_code(luthier, tmp_path, tiny_model_dir):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "say {n}", "completion": "it is {n}"}}\n' for n in range(20)))
    result = luthier("datasets", "report", rows, "--base-model", tiny_model_dir, "-o", "json")
    assert result.exit_code == 0
    assert "num_rows" in result.stdout
    rows.write_text("{broken\n")
    assert luthier("datasets", "report", rows, "--base-model", tiny_model_dir).exit_code == 1


def test_wrong_usage_exits_with_two(luthier):
    assert luthier("jobs", "get").exit_code == 2
    assert luthier("jobs", "list", "--limit", "0").exit_code == 2
    assert luthier("nothing").exit_code == 2


def test_no_key_and_no_gateway_are_one_line_with_the_remedy(luthier, monkeypatch, tmp_path):
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    monkeypatch.setenv("LUTHIER_API_KEY", "")
    result = luthier("jobs", "list")
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "LUTHIER_API_KEY" in result.stderr
    monkeypatch.setenv("LUTHIER_GATEWAY", "")
    assert luthier("jobs", "list").stderr == "error: no gateway: run `luthier up` or set LUTHIER_GATEWAY\n"


def test_an_interrupt_leaves_quietly(luthier, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("luthier.client.sync.Client.get", interrupt)
    result = luthier("jobs", "get", "job_1")
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr
