"""Puts the gateway together: one public gRPC server, one channel to the coordinator, one way in.

    call -> OpenTelemetry -> AuthInterceptor -> CoordinatorProxy    (public services, raw bytes)
                                             -> InferenceServicer   (chat, Triton behind it)
                                             -> reflection
         -> health (open)

It keeps no state of its own, so any number of gateways can run side by side.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from gateway.auth import ApiKeys, AuthInterceptor
from gateway.inference import InferenceServicer
from gateway.proxy import FORWARDED_SERVICES, CoordinatorProxy
from luthier.settings import GatewaySettings
from luthier.transport import COORDINATOR_OPTIONS, SERVER_OPTIONS, coordinator_target, is_loopback
from luthier.v1 import inference_service_pb2, inference_service_pb2_grpc

_LOG = logging.getLogger(__name__)


def check_settings(settings: GatewaySettings) -> None:
    """Refuses a configuration that would be unsafe.

    Raises:
        ValueError: naming the variable to change.
    """
    if not is_loopback(settings.gateway_listen):
        raise ValueError(
            f"LUTHIER_GATEWAY_LISTEN={settings.gateway_listen!r} is not a loopback address and port; without TLS "
            f"API keys would travel in clear text. Use 127.0.0.1:PORT, behind a proxy that ends TLS"
        )
    if not settings.internal_token.get_secret_value():
        raise ValueError("LUTHIER_INTERNAL_TOKEN is empty; set it to the secret that the coordinator uses")
    coordinator_target(settings.coordinator)


@asynccontextmanager
async def serving(settings: GatewaySettings) -> AsyncIterator[int]:
    """Serves inside the block; yields the port. Leaving it stops gracefully within `settings.stop_grace`.

    Raises:
        ValueError: the settings are unsafe.
        RuntimeError: the port is taken.
    """
    check_settings(settings)
    token = settings.internal_token.get_secret_value()
    target = coordinator_target(settings.coordinator)
    async with grpc.aio.insecure_channel(target, options=COORDINATOR_OPTIONS) as coordinator:
        proxy = CoordinatorProxy(coordinator, token)
        inference = InferenceServicer(coordinator, token, settings.triton_url)
        server = grpc.aio.server(
            interceptors=[aio_server_interceptor(), AuthInterceptor(ApiKeys(coordinator, token))],
            options=SERVER_OPTIONS,
        )
        server.add_generic_rpc_handlers((proxy,))
        inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(inference, server)
        status = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        reflection.enable_server_reflection(_public_names(), server)
        port = server.add_insecure_port(settings.gateway_listen)
        await server.start()
        try:
            yield port
        finally:
            await status.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            proxy.stop_streams()
            await server.stop(settings.stop_grace.total_seconds())
            await inference.close()


async def run(settings: GatewaySettings) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with serving(settings) as port:
        _LOG.info("gateway listens on port %d", port)
        await stop.wait()
        _LOG.info("gateway stops")


def _public_names() -> list[str]:
    inference = inference_service_pb2.DESCRIPTOR.services_by_name["InferenceService"]
    return [*(service.full_name for service in (*FORWARDED_SERVICES, inference)), health.SERVICE_NAME]
