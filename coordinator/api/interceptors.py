"""In front of every call: the internal token, and errors as statuses. The only place where a status is chosen."""

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc

from coordinator.store.engine import DATABASE_DOWN, OUR_FAULTS
from luthier.errors import InternalError, LuthierError, UnauthenticatedError, UnavailableError, status_of

# Probes carry no token, and learn nothing but "up" or "down".
OPEN_PREFIX = "/grpc.health.v1.Health/"
OUR_PREFIX = "/luthier.v1."

# As text, because the classes are generic for the type checker only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = logging.getLogger(__name__)


class InternalToken(grpc.aio.ServerInterceptor):
    """Refuses every call that does not carry the installation's token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Lets the call through, or answers UNAUTHENTICATED."""
        given = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
        token = given if isinstance(given, bytes) else given.encode()
        is_open = handler_call_details.method.startswith(OPEN_PREFIX)
        if is_open or hmac.compare_digest(token, self._expected):
            return await continuation(handler_call_details)
        return grpc.unary_unary_rpc_method_handler(_refuse)


class Errors(grpc.aio.ServerInterceptor):
    """Turns what a handler raises into a status; a caller learns nothing of what is our own fault."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """The same handler with its errors mapped; health and reflection, which are not ours, pass as they are."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_PREFIX):
            return handler
        coders = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_mapped_unary(handler.unary_unary, method), **coders)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_mapped_stream(handler.unary_stream, method), **coders)
        return handler


def _mapped_unary(call: Callable[..., Any], method: str) -> Callable[..., Any]:
    async def mapped(request: Any, context: Context) -> Any:
        try:
            return await call(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # the border of the process: logged here, told to the caller as a status
            await _abort(context, error, method)

    return mapped


def _mapped_stream(call: Callable[..., Any], method: str) -> Callable[..., Any]:
    async def mapped(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for message in call(request, context):
                yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # as above
            await _abort(context, error, method)

    return mapped


async def _abort(context: Context, error: Exception, method: str) -> NoReturn:
    mapped = map_error(error)
    if isinstance(mapped, InternalError):
        log.error("%s failed", method, exc_info=error)
    elif isinstance(mapped, UnavailableError):
        log.warning("%s: %r", method, error)
    await context.abort(status_of(mapped), str(mapped))


def map_error(error: Exception) -> LuthierError:
    """The error that a caller is told of."""
    if isinstance(error, LuthierError):
        return error
    if isinstance(error, DATABASE_DOWN) and not isinstance(error, OUR_FAULTS):
        return UnavailableError("the coordinator's database does not answer; try again")
    return InternalError("a fault of the coordinator; its log has the details")


async def _refuse(_: Any, context: Context) -> NoReturn:
    await context.abort(status_of(UnauthenticatedError()), "")
