"""The query of a URL may be a signature: it makes no other dataset, and is told nobody."""

import json

import pytest

from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Stage
from luthier.v1.worker_service_pb2 import StageAssignment
from tests.unit.workers.data.places.servers import http_server
from workers.data.stage import run
from workers.failures import StageError
from workers.task import Task

ROWS = "".join(json.dumps({"prompt": f"hello {i}", "completion": f"world {i}"}) + "\n" for i in range(12)).encode()
BENCHMARK = json.dumps({"question": "one two three four five six seven eight nine"}).encode()


@pytest.fixture
def served(tmp_path, tiny_model_dir):
    """A server, and what makes the task of a job with these paths below it, signed by a word."""
    with http_server() as server:
        server.answers["/rows.jsonl"] = lambda request: request.send(200, ROWS)
        server.answers["/benchmark.jsonl"] = lambda request: request.send(200, BENCHMARK)
        host = f"127.0.0.1:{server.port}"

        def task(signature, path="rows.jsonl"):
            work = tmp_path / f"work-{signature}"
            work.mkdir()
            url = f"http://{host}/{{}}?X-Signature={signature}".format
            data = {"path": url(path), "decontaminate": {"paths": [url("benchmark.jsonl")]}}
            document = {"name": "job", "base_model": str(tiny_model_dir), "data": data}
            stage = Stage(stage_id=f"stg_{signature}", name="preprocess", kind="preprocess", attempt=1, fence=1)
            settings = WorkerSettings(
                data_roots=f"{tmp_path},{tiny_model_dir}",
                data_private_hosts=host,
                artifacts=str(tmp_path / "artifacts"),
                model_cache=tmp_path / "models",
            )
            return Task(StageAssignment(stage=stage, project_id="p"), JobSpec.model_validate(document), settings, work)

        yield server, task


def test_another_signature_is_no_other_dataset_and_stands_nowhere(served, tmp_path, recorder, capfd):
    server, task = served
    first, again = run(task("x9f3c7a1first"), recorder), run(task("x9f3c7a1again"), recorder)
    assert again.artifact == first.artifact
    assert again.result["is_reused"]
    assert [path for path, _ in server.asked if "X-Signature=x9f3c7a1again" in path]
    told = [json.dumps(first.result), json.dumps(again.result), str(recorder.steps), *capfd.readouterr()]
    assert "x9f3c7a1" not in "".join(told).replace("stg_x9f3c7a1", "")
    written = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert any(path.name == "report.json" for path in written)
    assert [path.name for path in written if b"x9f3c7a1" in path.read_bytes().replace(b"stg_x9f3c7a1", b"")] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [("missing.jsonl", None), ("rows", ROWS), ("empty.jsonl", b""), ("wrong.jsonl", b'{"x": 1}'), ("a.jsonl", b"{")],
)
def test_faults_say_nothing_of_it(served, recorder, path, body):
    server, task = served
    if body is not None:
        server.answers[f"/{path}"] = lambda request: request.send(200, body)
    with pytest.raises(StageError, match=path) as caught:
        run(task("x9f3c7a1", path), recorder)
    assert "x9f3c7a1" not in str(caught.value)
