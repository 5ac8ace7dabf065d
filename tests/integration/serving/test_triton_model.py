"""The exported model inside Triton: requests it refuses, several at a time, and the server's restart."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from luthier.inference_wire import InferenceRequest
from workers.deployment.triton import Triton
from workers.export.triton_backend.generation import ChatModel
from workers.failures import ConfigError

HELLO = [{"role": "user", "content": "hello"}]


def test_bad_requests_are_refused_and_the_next_one_is_answered(triton, served_model):
    bad = {
        "at least one message": InferenceRequest([]),
        "role must be one of": InferenceRequest([{"role": "robot", "content": "x"}]),
        "max_new_tokens must be": InferenceRequest(HELLO, max_new_tokens=-1),
        "temperature must be": InferenceRequest(HELLO, temperature=-0.5),
        "top_p must be": InferenceRequest(HELLO, top_p=1.5),
        r"has \d+ tokens, the model's context 512; shorten it": InferenceRequest(
            [{"role": "user", "content": "1 2 3 " * 300}]
        ),
    }
    with Triton(triton.url) as client:
        for message, request in bad.items():
            with pytest.raises(ConfigError, match=message):
                client.ask(served_model, request, 30)
        assert client.ask(served_model, InferenceRequest(HELLO), 30).num_completion_tokens == 8


def test_sampling_with_a_seed_gives_the_same_answer_again(triton, served_model, tiny_model_dir):
    request = InferenceRequest(HELLO, max_new_tokens=30, temperature=1.0, top_p=0.9, seed=7)
    with Triton(triton.url) as client:
        answers = {client.ask(served_model, request, 30).text for _ in range(2)}
    local = ChatModel(tiny_model_dir).stream(HELLO, 30, temperature=1.0, top_p=0.9, seed=7)
    assert answers == {"".join(chunk.text for chunk in local)}


def test_short_answer_does_not_wait_for_a_long_one(triton, served_model):
    def ask(max_new_tokens: int) -> tuple[int, float]:
        with Triton(triton.url) as client:
            answer = client.ask(served_model, InferenceRequest(HELLO, max_new_tokens=max_new_tokens), 60)
        return answer.num_completion_tokens, answer.seconds

    with ThreadPoolExecutor() as pool:
        long, *short = pool.map(ask, [400, 4, 4])
    assert [num_tokens for num_tokens, _ in (long, *short)] == [400, 4, 4]
    assert max(seconds for _, seconds in short) < long[1] / 2


def test_configuration_is_complete_and_decoupled(triton, served_model):
    from tritonclient.grpc import InferenceServerClient

    with InferenceServerClient(triton.url) as client:
        config = client.get_model_config(served_model, as_json=True)["config"]
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert config["parameters"]["max_new_tokens"]["string_value"] == "8"
    assert json.dumps(config["input"]).count("REQUEST") == 1
