"""`InferenceService`: finds the deployment, asks Triton, streams the answer on.

Served by the gateway itself. Which project may use which deployment is the coordinator's answer, never the client's
claim. A client that leaves takes its request to Triton with it. What may be asked: `chat_request.py`.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import numpy as np
from opentelemetry import trace
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from gateway.auth.principal import current_principal, internal_metadata
from gateway.chat_request import to_inference
from luthier.errors import (
    ConflictError,
    DeadlineError,
    InternalError,
    InvalidRequestError,
    LuthierError,
    UnavailableError,
    error_of,
)
from luthier.inference_wire import CHUNK_TENSOR, REQUEST_TENSOR, InferenceChunk, InferenceRequest, refusal_of
from luthier.telemetry import TRACEPARENT, current_traceparent, tracer
from luthier.transport import MAX_MESSAGE_BYTES
from luthier.v1.deployment_pb2 import Deployment
from luthier.v1.deployment_service_pb2 import GetDeploymentRequest
from luthier.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from luthier.v1.inference_service_pb2 import ChatRequest, ChatResponse, ToolCall
from luthier.v1.inference_service_pb2_grpc import InferenceServiceServicer

_log = logging.getLogger(__name__)

MAX_CHAT_SECONDS = 600.0
"""Longest an answer may take, whatever deadline the client set."""

_LOOKUP_SECONDS = 5.0
# No keepalive pings: Triton takes more than one in five minutes for abuse and hangs up.
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class InferenceServicer(InferenceServiceServicer):
    """Chat with deployed models. Made inside the event loop; `close` it after the server has stopped."""

    def __init__(self, coordinator: grpc.aio.Channel, token: str, triton_url: str) -> None:
        """Serves what `coordinator` knows, behind the internal `token`; an empty `triton_url` means no chat."""
        self._deployments = DeploymentServiceStub(coordinator)
        self._token = token
        self._triton_url = triton_url
        self._triton = InferenceServerClient(triton_url, channel_args=_CHANNEL_OPTIONS) if triton_url else None

    async def close(self) -> None:
        """Hangs up on Triton."""
        if self._triton is not None:
            await self._triton.close()

    async def Chat(self, request: ChatRequest, context: Any) -> AsyncIterator[ChatResponse]:
        """Streams the answer; its last message has the finish reason and the token counts.

        Raises:
            InvalidRequestError: too large, what nobody can keep, or the model refuses it.
            NotFoundError: the caller's project has no such deployment.
            ConflictError: the deployment is not ACTIVE, or its model knows no tools yet.
            UnavailableError: Triton or the coordinator does not answer.
            DeadlineError: the answer took too long.
        """
        asked = to_inference(request)
        deployment = await self._active(request.deployment_id)
        remaining = context.time_remaining()
        timeout = MAX_CHAT_SECONDS if remaining is None else min(remaining, MAX_CHAT_SECONDS)
        # Not made current across a yield: a generator may be closed in another context than it was started in.
        span = tracer().start_span(
            "triton.chat",
            attributes={"luthier.deployment_id": deployment.deployment_id, "triton.model": deployment.triton_model},
        )
        with trace.use_span(span):
            headers = {TRACEPARENT: current_traceparent()}
        try:
            async with aclosing(self._ask(deployment.triton_model, asked, timeout, headers)) as chunks:
                async for chunk in chunks:
                    if asked.needs_tools and chunk.tool_calls is None:
                        raise ConflictError(
                            f"the model of deployment {request.deployment_id!r} was exported before chats had tools; "
                            f"run its job again"
                        )
                    if chunk.finish_reason:
                        span.set_attribute("triton.num_completion_tokens", chunk.num_completion_tokens)
                        yield _last_of(chunk)
                    elif chunk.text:
                        yield ChatResponse(delta=chunk.text)
        except LuthierError as error:
            span.record_exception(error)
            raise
        finally:
            span.end()

    async def _active(self, deployment_id: str) -> Deployment:
        request = GetDeploymentRequest(deployment_id=deployment_id)
        metadata = internal_metadata(self._token, current_principal())
        try:
            response = await self._deployments.GetDeployment(request, timeout=_LOOKUP_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise _of_coordinator(error) from error
        deployment = response.deployment
        if deployment.state != Deployment.STATE_ACTIVE:
            state = Deployment.State.Name(deployment.state).removeprefix("STATE_")
            raise ConflictError(f"deployment {deployment_id!r} is {state}; it answers once it is ACTIVE")
        return deployment

    async def _ask(
        self, model: str, request: InferenceRequest, timeout: float, headers: dict[str, str]
    ) -> AsyncGenerator[InferenceChunk, None]:
        if self._triton is None:
            raise UnavailableError("no Triton is set up here, so nothing can answer; set LUTHIER_TRITON_URL")
        tensor = InferInput(REQUEST_TENSOR, [1], "BYTES")
        tensor.set_data_from_numpy(np.array([request.encode()], dtype=object))

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": model, "inputs": [tensor]}

        stream = self._triton.stream_infer(requests(), stream_timeout=timeout, headers=headers)
        try:
            async for result, error in stream:
                if error is not None:
                    raise await self._of_model(model, error.message())
                yield InferenceChunk.decode(result.as_numpy(CHUNK_TENSOR)[0])
        except grpc.aio.AioRpcError as error:
            raise await self._of_triton(model, error) from error
        finally:
            # Also when our own client is gone: Triton then stops at the next token.
            stream.cancel()

    async def _of_triton(self, model: str, error: grpc.aio.AioRpcError) -> LuthierError:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError("the answer took too long; ask for fewer tokens or allow more time")
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return self._down()
        return await self._of_model(model, details)

    async def _of_model(self, model: str, details: str) -> LuthierError:
        """A refused request, a fault of the model, or its absence."""
        if (refusal := refusal_of(details)) is not None:
            return InvalidRequestError(refusal)
        assert self._triton is not None
        _log.warning("Triton at %s, model %s: %s", self._triton_url, model, details)
        try:
            is_ready = await self._triton.is_model_ready(model, client_timeout=_LOOKUP_SECONDS)
        except InferenceServerException:
            return self._down()
        if not is_ready:
            return UnavailableError(f"Triton at {self._triton_url} has not loaded {model}; deploy it again")
        return InternalError(f"the model failed: {details}")

    def _down(self) -> UnavailableError:
        return UnavailableError(f"Triton at {self._triton_url} does not answer; try again")


def _last_of(chunk: InferenceChunk) -> ChatResponse:
    """The end of an answer."""
    calls = [ToolCall(id=call.id, name=call.name, arguments_json=call.arguments) for call in chunk.tool_calls or ()]
    return ChatResponse(
        delta=chunk.text,
        finish_reason=chunk.finish_reason,
        num_prompt_tokens=chunk.num_prompt_tokens,
        num_completion_tokens=chunk.num_completion_tokens,
        tool_calls=calls,
    )


def _of_coordinator(error: grpc.aio.AioRpcError) -> LuthierError:
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return UnavailableError("the coordinator does not answer; try again")
    return error_of(error.code(), error.details() or "")
