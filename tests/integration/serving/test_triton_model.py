"""The exported model inside Triton: requests it refuses, several at a time, and the server's restart."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from luthier.inference_wire import InferenceRequest
from workers.deployment.stage import run
from workers.deployment.triton import Triton
from workers.export.triton_backend.generation import ChatModel
from workers.failures import ConfigError

from .conftest import Reported

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def triton_model(clean_triton, deploy_task, tiny_model_dir):
    """Name of a deployed tiny model."""
    run(deploy_task(tiny_model_dir, "served-1"), Reported())
    return "served-1"


def test_bad_requests_are_refused_and_the_next_one_is_answered(clean_triton, triton_model):
    bad = {
        "at least one message": InferenceRequest([]),
        "role must be one of": InferenceRequest([{"role": "robot", "content": "x"}]),
        "max_new_tokens must be": InferenceRequest(HELLO, max_new_tokens=-1),
        "temperature must be": InferenceRequest(HELLO, temperature=-0.5),
        "top_p must be": InferenceRequest(HELLO, top_p=1.5),
    }
    with Triton(clean_triton.url) as triton:
        for message, request in bad.items():
            with pytest.raises(ConfigError, match=message):
                triton.ask(triton_model, request, 30)
        assert triton.ask(triton_model, InferenceRequest(HELLO), 30).num_completion_tokens == 8


def test_sampling_with_a_seed_gives_the_same_answer_again(clean_triton, triton_model, tiny_model_dir):
    request = InferenceRequest(HELLO, max_new_tokens=30, temperature=1.0, top_p=0.9, seed=7)
    with Triton(clean_triton.url) as triton:
        answers = {triton.ask(triton_model, request, 30).text for _ in range(2)}
    local = ChatModel(tiny_model_dir).stream(HELLO, 30, temperature=1.0, top_p=0.9, seed=7)
    assert answers == {"".join(chunk.text for chunk in local)}


def test_short_answer_does_not_wait_for_a_long_one(clean_triton, triton_model):
    def ask(max_new_tokens: int) -> tuple[int, float]:
        with Triton(clean_triton.url) as triton:
            answer = triton.ask(triton_model, InferenceRequest(HELLO, max_new_tokens=max_new_tokens), 60)
        return answer.num_completion_tokens, answer.seconds

    with ThreadPoolExecutor() as pool:
        long, *short = pool.map(ask, [400, 4, 4])
    assert [num_tokens for num_tokens, _ in (long, *short)] == [400, 4, 4]
    assert max(seconds for _, seconds in short) < long[1] / 2


def test_configuration_is_complete_and_decoupled(clean_triton, triton_model):
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(clean_triton.url) as client:
        config = client.get_model_config(triton_model, as_json=True)["config"]
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["parameters"]["max_new_tokens"]["string_value"] == "8"
    assert json.dumps(config["input"]).count("REQUEST") == 1
