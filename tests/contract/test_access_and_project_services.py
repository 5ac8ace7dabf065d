"""Who may call, and what a caller is told of projects and keys."""

import hashlib
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from luthier.v1 import access_service_pb2 as access
from luthier.v1 import project_service_pb2 as projects
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.project_service_pb2_grpc import ProjectServiceStub

HASH = hashlib.sha256(b"lk_a-key-of-the-tests").digest()


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


@pytest.mark.parametrize(
    "metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", "internal-token-of-the-tests"),)]
)
async def test_a_call_without_the_internal_token_learns_nothing(coordinator: Any, metadata: Any) -> None:
    stub: Any = ProjectServiceStub(coordinator.channel)
    call = stub.GetProject(projects.GetProjectRequest(), metadata=(*metadata, ("x-luthier-project", "default")))
    assert await refusal(call) == (grpc.StatusCode.UNAUTHENTICATED, "")


async def test_a_call_for_no_project_is_refused(coordinator: Any) -> None:
    stub: Any = ProjectServiceStub(coordinator.channel)
    code, _ = await refusal(stub.GetProject(projects.GetProjectRequest(), metadata=coordinator.metadata[:1]))
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def test_the_caller_s_project_is_found_and_no_other(coordinator: Any) -> None:
    stub: Any = ProjectServiceStub(coordinator.channel)
    for project_id in ("", "default"):
        request = projects.GetProjectRequest(project_id=project_id)
        reply = await stub.GetProject(request, metadata=coordinator.metadata)
        assert reply.project.project_id == "default"
        assert reply.project.last_sequence == 0
    call = stub.GetProject(projects.GetProjectRequest(project_id="other"), metadata=coordinator.metadata)
    assert (await refusal(call))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_key_is_recorded_once_and_then_says_whose_it_is(coordinator: Any) -> None:
    stub: Any = AccessServiceStub(coordinator.channel)
    request = access.CreateApiKeyRequest(project_id="default", key_sha256=HASH, permissions=["*"])
    first = await stub.CreateApiKey(request, metadata=coordinator.metadata)
    again = await stub.CreateApiKey(request, metadata=coordinator.metadata)
    assert first.key_id == again.key_id
    reply = await stub.AuthenticateApiKey(
        access.AuthenticateApiKeyRequest(key_sha256=HASH), metadata=coordinator.metadata
    )
    assert (reply.principal.key_id, reply.principal.project_id) == (first.key_id, "default")
    assert list(reply.principal.permissions) == ["*"]
    other = access.CreateApiKeyRequest(project_id="default", key_sha256=HASH, permissions=["jobs.get"])
    code, _ = await refusal(stub.CreateApiKey(other, metadata=coordinator.metadata))
    assert code is grpc.StatusCode.ALREADY_EXISTS


async def test_an_unknown_key_is_refused_without_a_word(coordinator: Any) -> None:
    stub: Any = AccessServiceStub(coordinator.channel)
    call = stub.AuthenticateApiKey(access.AuthenticateApiKeyRequest(key_sha256=HASH), metadata=coordinator.metadata)
    assert await refusal(call) == (grpc.StatusCode.UNAUTHENTICATED, "")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"project_id": "none", "key_sha256": HASH}, grpc.StatusCode.NOT_FOUND),
        ({"project_id": "a b", "key_sha256": HASH}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"project_id": "default", "key_sha256": b"short"}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_key_that_cannot_be_recorded_is_refused(coordinator: Any, fields: Any, expected: Any) -> None:
    stub: Any = AccessServiceStub(coordinator.channel)
    call = stub.CreateApiKey(access.CreateApiKeyRequest(**fields), metadata=coordinator.metadata)
    assert (await refusal(call))[0] is expected


async def test_health_is_open_and_serving_once_both_stores_answer(coordinator: Any) -> None:
    stub = health_pb2_grpc.HealthStub(coordinator.channel)
    states = []
    async for reply in stub.Watch(health_pb2.HealthCheckRequest(service="luthier.v1.JobService")):
        states.append(reply.status)
        if reply.status == health_pb2.HealthCheckResponse.SERVING:
            break
    reply = await stub.Check(health_pb2.HealthCheckRequest())
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_every_service_to_a_caller_with_the_token(coordinator: Any) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(coordinator.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    replies = stub.ServerReflectionInfo(iter([request]), metadata=coordinator.metadata)
    names = {service.name async for reply in replies for service in reply.list_services_response.service}
    assert {"luthier.v1.JobService", "luthier.v1.WorkerService", "grpc.health.v1.Health"} <= names
    assert (await refusal(stub.ServerReflectionInfo(iter([request])).read()))[0] is grpc.StatusCode.UNAUTHENTICATED
