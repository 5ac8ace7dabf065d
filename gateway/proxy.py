"""Forwards calls of the public services to the coordinator, as raw bytes, by one generic handler.

The methods come from the services' descriptors, so a new method of a public service is forwarded once it has a row in
`auth/permissions.py`. Internal services have no entry here. Nothing of a request is parsed, and of its metadata only
the trace context goes on: project and key come from the principal.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NoReturn

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from gateway.auth.principal import current_principal, internal_metadata
from luthier.v1 import (
    admin_service_pb2,
    dataset_service_pb2,
    deployment_service_pb2,
    event_service_pb2,
    job_service_pb2,
    model_service_pb2,
    project_service_pb2,
)

FORWARDED_SERVICES: tuple[ServiceDescriptor, ...] = (
    project_service_pb2.DESCRIPTOR.services_by_name["ProjectService"],
    job_service_pb2.DESCRIPTOR.services_by_name["JobService"],
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    dataset_service_pb2.DESCRIPTOR.services_by_name["DatasetService"],
    deployment_service_pb2.DESCRIPTOR.services_by_name["DeploymentService"],
    event_service_pb2.DESCRIPTOR.services_by_name["EventService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
)
MAX_UNARY_SECONDS = 60.0
"""Longest a unary call may take, whatever deadline the client set."""

if TYPE_CHECKING:  # generic in the type stubs only
    Context = grpc.aio.ServicerContext[bytes, bytes]
    Handler = grpc.RpcMethodHandler[bytes, bytes]
    Stream = grpc.aio.UnaryStreamCall[bytes, bytes]


class CoordinatorProxy(grpc.GenericRpcHandler):
    """Every unary-unary and unary-stream method of the public services."""

    def __init__(self, coordinator: grpc.aio.Channel, token: str) -> None:
        self._coordinator = coordinator
        self._token = token
        self._streams: set[Stream] = set()
        self._stopping = False
        self._handlers = {
            f"/{service.full_name}/{method.name}": self._handler(
                f"/{service.full_name}/{method.name}", method.server_streaming
            )
            for service in FORWARDED_SERVICES
            for method in service.methods
            if not method.client_streaming
        }

    def service(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        """The handler of a public method; None (UNIMPLEMENTED) for everything else."""
        return self._handlers.get(details.method)

    def stop_streams(self) -> None:
        """Ends every open stream with UNAVAILABLE, so that clients resume elsewhere instead of holding up a stop."""
        self._stopping = True
        for call in list(self._streams):
            call.cancel()

    def _handler(self, method: str, is_stream: bool) -> "Handler":
        async def unary(request: bytes, context: "Context") -> bytes:
            return await self._forward(method, request, context)

        async def stream(request: bytes, context: "Context") -> AsyncIterator[bytes]:
            async for response in self._forward_stream(method, request, context):
                yield response

        if is_stream:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(unary)

    async def _forward(self, method: str, request: bytes, context: "Context") -> bytes:
        remaining = context.time_remaining()
        timeout = MAX_UNARY_SECONDS if remaining is None else min(remaining, MAX_UNARY_SECONDS)
        try:
            # A cancelled handler cancels the call that it awaits.
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._coordinator.unary_unary(method)
            return await call(request, timeout=timeout, metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            await self._abort(error, context)

    async def _forward_stream(self, method: str, request: bytes, context: "Context") -> AsyncIterator[bytes]:
        start: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._coordinator.unary_stream(method)
        call = start(request, timeout=context.time_remaining(), metadata=self._metadata())
        self._streams.add(call)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            await self._abort(error, context)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the gateway stops; try again")
        finally:
            self._streams.discard(call)
            call.cancel()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return internal_metadata(self._token, current_principal())

    async def _abort(self, error: grpc.aio.AioRpcError, context: "Context") -> NoReturn:
        """Answers with the coordinator's own status; the reason why it cannot be reached stays in here."""
        unreachable = self._coordinator.get_state() is not grpc.ChannelConnectivity.READY
        if error.code() is grpc.StatusCode.UNAVAILABLE and unreachable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator does not answer; try again")
        await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata()))
