import json
from pathlib import Path

import pytest

from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress, StageOutputs
from workers.contract import (
    OUTCOME,
    LogLine,
    Retirement,
    decode,
    encode,
    log_tail,
    read_outcome,
    read_task,
    write_outcome,
    write_task,
)


@pytest.mark.parametrize(
    "message",
    [
        Progress(step=1 << 40, num_steps=3, message="line\nbreak"),
        MetricPoint(step=1, values={"loss": 0.5, "worst": float("inf")}),
        Checkpoint(uri="s3://bucket/1.7", digest="sha256:00", step=1, attempt=2, fence=1 << 60),
        LogLine(30, "workers.training", "a warning"),
        Retirement(("s3://bucket/1.7", "/a/2.7")),
    ],
)
def test_a_message_survives_the_pipe_as_one_line(message):
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"hello\n", "Expecting value"),
        (b"[]\n", "one key"),
        (b'{"progress": 1}\n', "an object under 'progress'"),
        (b'{"rumour": {}}\n', "'rumour', which is no message"),
        (b'{"progress": {"x": 1}}\n', 'no field named "x"'),
    ],
)
def test_other_lines_are_refused(line, reason):
    with pytest.raises(ValueError, match=reason):
        decode(line)


@pytest.mark.parametrize(
    "outcome",
    [
        StageOutputs(metrics={"loss": 1.5}, result_json='{"a":1}', gate_passed=True),
        StageOutputs(),
        Failure(failure_class=FailureClass.FAILURE_CLASS_DATA, message="data.jsonl, line 3"),
    ],
)
def test_an_outcome_is_read_as_it_was_written(tmp_path: Path, outcome):
    write_outcome(tmp_path, outcome)
    assert read_outcome(tmp_path) == outcome
    assert [path.name for path in tmp_path.iterdir()] == [OUTCOME]


def test_a_runner_that_said_nothing_has_no_outcome(tmp_path: Path):
    assert read_outcome(tmp_path) is None


def test_an_outcome_that_is_neither_outputs_nor_failure_is_refused(tmp_path: Path):
    (tmp_path / OUTCOME).write_text(json.dumps({"maybe": {}}))
    with pytest.raises(ValueError, match="maybe"):
        read_outcome(tmp_path)


def test_the_task_reaches_the_runner_whole(tmp_path: Path, assign):
    assignment = assign("echo", traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    write_task(tmp_path, assignment)
    assert read_task(tmp_path) == assignment


def test_the_log_tail_is_the_end_of_the_log(tmp_path: Path):
    assert log_tail(tmp_path) == ""
    (tmp_path / "runner.log").write_text("x" * 100 + "end")
    assert log_tail(tmp_path, num_bytes=5) == "xxend"
