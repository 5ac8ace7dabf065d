"""The deploy stage against a real Triton: the model answers when it succeeds, nothing is left when it does not."""

import json
import shutil
from pathlib import Path

import pytest

from luthier.inference_wire import InferenceRequest
from luthier.v1.failure_pb2 import FailureClass
from workers.deployment.stage import run
from workers.deployment.triton import Triton
from workers.export.triton_backend.generation import ChatModel
from workers.failures import ConfigError, DependencyError, StageError

from .conftest import Reported

HELLO = [{"role": "user", "content": "hello world"}]


@pytest.fixture
def speechless_model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The tiny model, told that the token it likes best ends an answer."""
    first = next(ChatModel(tiny_model_dir).stream(HELLO, max_new_tokens=1)).token_ids[0]
    folder = shutil.copytree(tiny_model_dir, tmp_path / "speechless")
    config = json.loads((folder / "generation_config.json").read_text())
    config["eos_token_id"] = [config["eos_token_id"], first]
    (folder / "generation_config.json").write_text(json.dumps(config))
    return folder


def test_deployed_model_says_what_the_exported_one_says_and_a_repeat_changes_nothing(
    clean_triton, deploy_task, tiny_model_dir
):
    report, task = Reported(), deploy_task(tiny_model_dir, "demo-1")
    result = run(task, report)
    assert result.result == {"triton_model": "demo-1", "url": clean_triton.url}
    assert 0 < result.metrics["first_token_ms"] < 1000 * result.metrics["load_seconds"]
    assert (report.messages[0], report.messages[-1]) == ("installing demo-1", "asking demo-1")

    expected = "".join(chunk.text for chunk in ChatModel(tiny_model_dir).stream(HELLO, max_new_tokens=40))
    with Triton(clean_triton.url) as triton:
        answer = triton.ask("demo-1", InferenceRequest(HELLO, max_new_tokens=40), 30)
    assert (answer.text, answer.num_completion_tokens) == (expected, 40)

    files = (clean_triton.repository / "demo-1").stat().st_ino
    assert run(task, Reported()).result == result.result
    assert (clean_triton.repository / "demo-1").stat().st_ino == files


def test_model_that_replaces_a_loaded_one_but_has_no_answer_is_unloaded(
    clean_triton, deploy_task, tiny_model_dir, speechless_model_dir
):
    run(deploy_task(tiny_model_dir, "demo-1"), Reported())
    with pytest.raises(ConfigError, match=r"ended its answer to deploy\.validation_prompt"):
        run(deploy_task(speechless_model_dir, "demo-1", validation_prompt="hello world"), Reported())
    assert clean_triton.ready_models() == set()
    assert list(clean_triton.repository.iterdir()) == []


def test_model_that_cannot_be_loaded_is_taken_out(clean_triton, deploy_task, tiny_model_dir, tmp_path):
    broken = shutil.copytree(tiny_model_dir, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(StageError, match="could not load demo-2") as raised:
        run(deploy_task(broken, "demo-2"), Reported())
    assert raised.value.failure_class == FailureClass.FAILURE_CLASS_INTERNAL
    assert list(clean_triton.repository.iterdir()) == []
    assert clean_triton.ready_models() == set()


def test_load_that_takes_too_long_is_tried_again_later(clean_triton, deploy_task, tiny_model_dir):
    with pytest.raises(DependencyError, match=r"did not load demo-5 within 1 s; raise deploy\.timeout_seconds"):
        run(deploy_task(tiny_model_dir, "demo-5", timeout_seconds=0.5), Reported())
    assert list(clean_triton.repository.iterdir()) == []


def test_triton_that_is_down_is_named_and_gets_no_files(clean_triton, deploy_task, tiny_model_dir, free_port):
    url = f"127.0.0.1:{free_port()}"
    with pytest.raises(DependencyError, match=f"Triton at {url} does not answer"):
        run(deploy_task(tiny_model_dir, "demo-6", triton_url=url), Reported())
    assert list(clean_triton.repository.iterdir()) == []
