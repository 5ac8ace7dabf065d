"""Tools from the SDK through the real gateway to a real Triton with a model that has learned to call one, and back."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.app import serving
from luthier import errors
from luthier.client import AsyncClient
from luthier.settings import GatewaySettings
from tests.calling_model import ANSWER, ARGUMENTS, QUESTION, TOOL, WORDS, make_calling_model
from workers.data.tokens.render import render_prompt
from workers.deployment.repository import remove
from workers.deployment.triton import Triton
from workers.export.triton import write_repository
from workers.models import load_tokenizer

from .conftest import active

OLD_MODEL = """
import json
import numpy as np
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            chunk = {"text": "hi", "token_ids": [], "finish_reason": "stop", "num_prompt_tokens": 1,
                     "num_completion_tokens": 1}
            tensor = triton.Tensor("CHUNK", np.array([json.dumps(chunk).encode()], dtype=object))
            request.get_response_sender().send(
                triton.InferenceResponse(output_tensors=[tensor]), flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            )
"""


@pytest.fixture(scope="module")
def calling_model_dir(tiny_model_dir, tmp_path_factory) -> Path:
    return make_calling_model(tiny_model_dir, tmp_path_factory.mktemp("calling") / "model")


@pytest.fixture(scope="module")
def loaded(triton, calling_model_dir, tiny_model_dir):
    """Names of models in Triton: one that calls, one without tools in its template, one from before there were any."""
    models = {"calls": calling_model_dir, "plain": tiny_model_dir, "old": tiny_model_dir}
    for name, folder in models.items():
        write_repository(folder, triton.repository, name, max_new_tokens=120)
    (triton.repository / "old" / "1" / "model.py").write_text(OLD_MODEL)
    with Triton(triton.url) as client:
        for name in models:
            client.load(name, 200)
        yield list(models)
        for name in models:
            client.discard(name)
            remove(triton.repository, name)


@pytest.fixture
def deployed(coordinator, loaded):
    """Address of a coordinator that knows a deployment of each of them, of the same name."""
    servicer, address = coordinator
    servicer.deployments.update({name: active(name) for name in loaded})
    return address


@asynccontextmanager
async def asking(coordinator: str, triton_url: str) -> AsyncIterator[AsyncClient]:
    """The SDK, through a gateway of its own."""
    settings = GatewaySettings(
        coordinator=coordinator,
        internal_token=SecretStr("internal"),
        gateway_listen="127.0.0.1:0",
        triton_url=triton_url,
        stop_grace=timedelta(seconds=1),
    )
    async with serving(settings) as port, AsyncClient(f"127.0.0.1:{port}", "lk_" + "a" * 43) as client:
        yield client


async def test_a_call_its_result_and_the_answer(triton, deployed, calling_model_dir):
    async with asking(deployed, triton.url) as client:
        answer = await client.chat("calls", [QUESTION], tools=[TOOL])
        (call,) = answer.tool_calls
        assert (answer.text, answer.finish_reason) == (WORDS, "tool_calls")
        assert (call.name, call.arguments) == ("sky", ARGUMENTS)
        result = {"role": "tool", "tool_call_id": call.id, "content": "fog"}
        final = await client.chat("calls", [QUESTION, answer.message, result], tools=[TOOL])
        assert (final.text, final.finish_reason, final.tool_calls) == (ANSWER, "stop", ())

        pieces = [piece async for piece in client.chat_stream("calls", [QUESTION], tools=[TOOL])]
        assert "".join(piece.text for piece in pieces) == WORDS
        assert len(pieces) > 2
        assert [len(piece.tool_calls) for piece in pieces] == [0] * (len(pieces) - 1) + [1]

    tokenizer = load_tokenizer(calling_model_dir)
    trained = render_prompt(tokenizer, [QUESTION], json.dumps([TOOL]))
    assert answer.num_prompt_tokens == len(trained)
    told = [QUESTION, answer.message, {"role": "tool", "content": "fog"}]
    assert final.num_prompt_tokens == len(render_prompt(tokenizer, told, json.dumps([TOOL])))


async def test_without_tools_or_with_none_an_answer_is_text(triton, deployed):
    async with asking(deployed, triton.url) as client:
        plain = await client.chat("calls", [QUESTION])
        none = await client.chat("calls", [QUESTION], tools=[TOOL], tool_choice="none")
    assert plain.tool_calls == none.tool_calls == ()
    assert (plain.text, plain.num_prompt_tokens) == (none.text, none.num_prompt_tokens)


@pytest.mark.parametrize(
    ("deployment", "options", "kind", "message"),
    [
        ("calls", {"tools": {"sky": TOOL}}, errors.InvalidRequestError, "tools must be a list"),
        ("calls", {"tools": [{"type": "function", "function": {}}]}, errors.InvalidRequestError, "must be the name"),
        (
            "calls",
            {"tools": [{"type": "function", "function": {"name": "sky", "parameters": []}}]},
            errors.InvalidRequestError,
            r"tools\[0\]\.function\.parameters must be an object",
        ),
        ("calls", {"tools": [TOOL] * 129}, errors.InvalidRequestError, "129 tools are too many"),
        ("calls", {"tools": [{"x": "y" * (1 << 20)}]}, errors.InvalidRequestError, "send at most 1048576"),
        ("calls", {"tools": [TOOL], "tool_choice": "required"}, errors.InvalidRequestError, "cannot be kept"),
        ("plain", {"tools": [TOOL]}, errors.InvalidRequestError, "chat template does not write tools"),
        ("old", {"tools": [TOOL]}, errors.ConflictError, "'old' was exported before chats had tools; run its job"),
    ],
)
async def test_what_cannot_be_done_is_said(triton, deployed, deployment, options, kind, message):
    async with asking(deployed, triton.url) as client:
        with pytest.raises(kind, match=message):
            await client.chat(deployment, [QUESTION], **options)


async def test_a_model_from_before_tools_still_chats(triton, deployed):
    async with asking(deployed, triton.url) as client:
        assert (await client.chat("old", "hello")).text == "hi"
