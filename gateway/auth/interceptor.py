"""The one door: every call passes here before a handler is even looked for.

Order: API key, permission of the method, number of streams the key has open. What a handler raises from our error
tree becomes its status here too; anything else is a bug and stays UNKNOWN.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from gateway.auth.keys import ApiKeys
from gateway.auth.permissions import OPEN_METHODS, check_permission
from gateway.auth.principal import set_principal
from luthier.errors import LimitExceededError, LuthierError, status_of
from luthier.v1.access_service_pb2 import Principal

if TYPE_CHECKING:  # generic in the type stubs only
    Handler = grpc.RpcMethodHandler[Any, Any]
    Context = grpc.aio.ServicerContext[Any, Any]
    Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates, authorizes and limits every call but the open ones."""

    def __init__(self, keys: ApiKeys, *, max_streams_per_key: int = 64) -> None:
        self._keys = keys
        self._max_streams = max_streams_per_key
        self._streams: Counter[str] = Counter()

    async def intercept_service(
        self, continuation: "Continuation", details: grpc.HandlerCallDetails
    ) -> "Handler | None":
        """Returns the handler of an allowed call, or one that refuses without reading the request."""
        if details.method in OPEN_METHODS:
            return await continuation(details)
        try:
            principal = await self._keys.authenticate(_authorization(details))
            check_permission(principal, details.method)
        except LuthierError as error:
            return _refusing(error)
        # Interceptor and handler of one call run in one task, so the handler finds it there.
        set_principal(principal)
        handler = await continuation(details)
        if handler is not None and handler.unary_stream is not None:
            return self._limited(handler, handler.unary_stream, principal)
        return handler

    def _limited(self, handler: "Handler", behaviour: Callable[..., Any], principal: Principal) -> "Handler":
        async def stream(request: Any, context: "Context") -> AsyncIterator[Any]:
            if self._streams[principal.key_id] >= self._max_streams:
                limit = LimitExceededError(f"the API key has {self._max_streams} streams open; close one")
                await context.abort(status_of(limit), str(limit))
            self._streams[principal.key_id] += 1
            try:
                async for response in behaviour(request, context):
                    yield response
            except LuthierError as error:
                await context.abort(status_of(error), str(error))
            finally:
                self._streams[principal.key_id] -= 1
                if not self._streams[principal.key_id]:
                    del self._streams[principal.key_id]

        return grpc.unary_stream_rpc_method_handler(stream, handler.request_deserializer, handler.response_serializer)


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    """The only `authorization` header; None when there is none or more than one."""
    found = [value for key, value in details.invocation_metadata if key == "authorization"]
    return str(found[0]) if len(found) == 1 else None


def _refusing(error: LuthierError) -> "Handler":
    async def refuse(_requests: Any, context: "Context") -> AsyncIterator[bytes]:
        await context.abort(status_of(error), str(error))
        yield b""  # makes this a generator, as the runtime expects of a streaming handler

    # Streaming on both sides fits every method and does not wait for a request that may never come.
    return grpc.stream_stream_rpc_method_handler(refuse)
