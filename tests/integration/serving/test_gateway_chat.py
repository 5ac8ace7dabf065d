"""Chat through the real gateway: the coordinator says which deployment, a real Triton answers."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from pydantic import SecretStr

from gateway.app import serving
from gateway.chat_request import MAX_CONTENT_BYTES, MAX_MESSAGES
from luthier.settings import GatewaySettings
from luthier.v1.deployment_pb2 import Deployment
from luthier.v1.inference_service_pb2 import ChatMessage, ChatRequest
from luthier.v1.inference_service_pb2_grpc import InferenceServiceStub
from workers.export.triton_backend.generation import ChatModel

from .conftest import active

KEY = {"authorization": "Bearer lk_" + "a" * 43}
HELLO = [ChatMessage(role="user", content="hello world")]


@asynccontextmanager
async def chatting(coordinator: str, triton_url: str) -> AsyncIterator[Callable[..., object]]:
    """A function that starts a chat call through a gateway of its own."""
    settings = GatewaySettings(
        coordinator=coordinator,
        internal_token=SecretStr("internal"),
        gateway_listen="127.0.0.1:0",
        triton_url=triton_url,
        stop_grace=timedelta(seconds=1),
    )
    async with serving(settings) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = InferenceServiceStub(channel)
        yield lambda timeout=30, **request: stub.Chat(ChatRequest(**request), timeout=timeout, metadata=[*KEY.items()])


async def failure(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in call:
            pass
    return raised.value.code(), raised.value.details()


async def test_answer_arrives_in_pieces_and_ends_with_the_counts(triton, served_model, coordinator, tiny_model_dir):
    servicer, address = coordinator
    servicer.deployments["demo"] = active(served_model)
    async with chatting(address, triton.url) as chat:
        responses = [response async for response in chat(deployment_id="demo", messages=HELLO, max_new_tokens=20)]
    local = list(ChatModel(tiny_model_dir).stream([{"role": "user", "content": "hello world"}], 20))
    assert "".join(response.delta for response in responses) == "".join(chunk.text for chunk in local)
    assert len(responses) > 2
    assert [response.finish_reason for response in responses[:-1]] == [""] * (len(responses) - 1)
    last = responses[-1]
    assert (last.finish_reason, last.num_completion_tokens) == ("length", 20)
    assert last.num_prompt_tokens == local[-1].num_prompt_tokens
    assert servicer.asked_for == [("prj_1", "demo")]


async def test_deployment_must_exist_and_be_active(triton, coordinator):
    servicer, address = coordinator
    servicer.deployments["early"] = Deployment(deployment_id="dep_2", state=Deployment.STATE_PENDING)
    async with chatting(address, triton.url) as chat:
        code, details = await failure(chat(deployment_id="early", messages=HELLO))
        assert (code, details) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "deployment 'early' is PENDING; it answers once it is ACTIVE",
        )
        code, _ = await failure(chat(deployment_id="nothing", messages=HELLO))
        assert code is grpc.StatusCode.NOT_FOUND


async def test_requests_are_bounded_and_checked(triton, served_model, coordinator):
    servicer, address = coordinator
    servicer.deployments["demo"] = active(served_model)
    bad = {
        "too many": {"messages": HELLO * (MAX_MESSAGES + 1)},
        "bytes; send at most": {"messages": [ChatMessage(role="user", content="x" * (MAX_CONTENT_BYTES + 1))]},
        "at least one message": {"messages": []},
        "role must be one of": {"messages": [ChatMessage(role="robot")]},
        "temperature must be": {"messages": HELLO, "temperature": -1.0},
    }
    async with chatting(address, triton.url) as chat:
        for expected, request in bad.items():
            code, details = await failure(chat(deployment_id="demo", **request))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert expected in details


async def test_triton_that_is_down_is_named(coordinator, free_port):
    servicer, address = coordinator
    servicer.deployments["demo"] = active("any")
    url = f"127.0.0.1:{free_port()}"
    async with chatting(address, url) as chat:
        code, details = await failure(chat(deployment_id="demo", messages=HELLO))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert details == f"Triton at {url} does not answer; try again"


async def test_gateway_without_triton_says_so(coordinator):
    servicer, address = coordinator
    servicer.deployments["demo"] = active("any")
    async with chatting(address, "") as chat:
        assert (await failure(chat(deployment_id="demo", messages=HELLO)))[0] is grpc.StatusCode.UNAVAILABLE


async def test_model_that_triton_lost_is_unavailable(triton, coordinator):
    servicer, address = coordinator
    servicer.deployments["demo"] = active("forgotten-1")
    async with chatting(address, triton.url) as chat:
        code, details = await failure(chat(deployment_id="demo", messages=HELLO))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "has not loaded forgotten-1" in details


async def test_client_that_leaves_stops_the_model(triton, served_model, coordinator):
    servicer, address = coordinator
    servicer.deployments["demo"] = active(served_model)

    async def seconds_of_an_answer(chat) -> float:
        started = time.monotonic()
        async for response in chat(deployment_id="demo", messages=HELLO, max_new_tokens=400):
            last = response
        assert last.num_completion_tokens == 400
        return time.monotonic() - started

    async with chatting(address, triton.url) as chat:
        alone = await seconds_of_an_answer(chat)
        for _ in range(8):
            call = chat(deployment_id="demo", messages=HELLO, max_new_tokens=490)
            await anext(aiter(call))
            call.cancel()
        after = await seconds_of_an_answer(chat)
        # Eight answers that went on would take turns with this one, token by token. How busy the machine is may change.
        assert after < 4 * max(alone, await seconds_of_an_answer(chat))


async def test_deadline_of_the_client_ends_the_answer(triton, served_model, coordinator):
    servicer, address = coordinator
    servicer.deployments["demo"] = active(served_model)
    async with chatting(address, triton.url) as chat:
        call = chat(timeout=0.2, deployment_id="demo", messages=HELLO, max_new_tokens=490)
        assert (await failure(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
