import asyncio

import grpc
import pytest

from luthier.errors import ConflictError, DeadlineError, UnauthenticatedError
from luthier.v1.worker_service_pb2 import (
    CompleteStageRequest,
    CompleteStageResponse,
    HeartbeatRequest,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
)
from luthier.v1.worker_service_pb2_grpc import WorkerServiceServicer, add_WorkerServiceServicer_to_server
from workers.coordinator_link import GrpcCoordinator


class Servicer(WorkerServiceServicer):
    async def RegisterWorker(self, request, context):
        if ("authorization", "Bearer secret") not in [tuple(pair) for pair in context.invocation_metadata()]:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return RegisterWorkerResponse()

    async def Heartbeat(self, request, context):
        await asyncio.sleep(60)

    async def CompleteStage(self, request, context):
        if request.fence != 7:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "stale fence")
        return CompleteStageResponse()


async def serve(port: int) -> grpc.aio.Server:
    server = grpc.aio.server()
    add_WorkerServiceServicer_to_server(Servicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server


@pytest.fixture
async def port(free_port):
    port = free_port()
    server = await serve(port)
    yield port
    await server.stop(0)


@pytest.mark.parametrize(("token", "is_welcome"), [("secret", True), ("guess", False)])
async def test_every_call_shows_the_token(port, token, is_welcome):
    async with GrpcCoordinator(f"127.0.0.1:{port}", token, timeout=5) as coordinator:
        if is_welcome:
            await coordinator.register_worker(RegisterWorkerRequest())
        else:
            with pytest.raises(UnauthenticatedError):
                await coordinator.register_worker(RegisterWorkerRequest())


async def test_a_refusal_is_the_error_that_the_coordinator_raised(port):
    async with GrpcCoordinator(f"127.0.0.1:{port}", "secret", timeout=5) as coordinator:
        await coordinator.complete_stage(CompleteStageRequest(fence=7))
        with pytest.raises(ConflictError, match="stale fence"):
            await coordinator.complete_stage(CompleteStageRequest(fence=6))


async def test_a_heartbeat_is_given_up_in_time_for_the_next(port):
    async with GrpcCoordinator(f"127.0.0.1:{port}", "secret", timeout=60) as coordinator:
        with pytest.raises(DeadlineError):
            await coordinator.heartbeat(HeartbeatRequest(), timeout=0.2)


async def test_a_coordinator_that_is_down_is_a_deadline_and_one_that_comes_back_is_found(free_port):
    port = free_port()
    async with GrpcCoordinator(f"127.0.0.1:{port}", "secret", timeout=0.3) as coordinator:
        with pytest.raises(DeadlineError):
            await coordinator.register_worker(RegisterWorkerRequest())
    async with GrpcCoordinator(f"127.0.0.1:{port}", "secret", timeout=10) as coordinator:
        call = asyncio.create_task(coordinator.register_worker(RegisterWorkerRequest()))
        server = await serve(port)
        await call
        await server.stop(0)
