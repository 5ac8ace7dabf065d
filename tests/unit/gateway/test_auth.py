"""What the door lets through, and what it says to those it does not."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.auth import ApiKeys
from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.inference_service_pb2 import ChatMessage, ChatRequest
from luthier.v1.inference_service_pb2_grpc import InferenceServiceStub
from luthier.v1.job_service_pb2 import GetJobRequest, ListJobsRequest, WatchJobRequest
from luthier.v1.worker_service_pb2 import RegisterWorkerRequest
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub

WRONG = [
    (),
    (("authorization", ""),),
    (("authorization", "Bearer "),),
    (("authorization", "Bearer lk_short"),),
    (("authorization", "Bearer lk_" + "x" * 43),),
    (("authorization", "Bearer lk_" + "a" * 44),),
    (("authorization", "Basic lk_" + "a" * 43),),
    (("authorization", "lk_" + "a" * 43),),
    (("authorization", "Bearer lk_" + "a" * 43), ("authorization", "Bearer lk_" + "a" * 43)),
    (("x-luthier-project", "prj_1"), ("x-luthier-key", "key_1")),
    (("authorization", "Bearer internal-secret"),),
]


@pytest.mark.parametrize("metadata", WRONG, ids=range(len(WRONG)))
async def test_every_bad_key_gets_the_same_answer(edge, metadata):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == "no valid API key; send one as 'authorization: Bearer lk_...'"
    assert not edge.backend.metadata


async def test_a_stream_is_refused_like_a_unary_call(edge):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in edge.jobs.WatchJob(WatchJobRequest(job_id="j")):
            pass
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_may_do_what_it_has_the_permission_for_and_no_more(edge):
    await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=edge.reader)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await edge.jobs.ListJobs(ListJobsRequest(), metadata=edge.reader)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "jobs.list" in refused.value.details()


async def test_internal_services_cannot_be_reached_even_with_every_permission(edge):
    calls = (
        WorkerServiceStub(edge.channel).RegisterWorker(RegisterWorkerRequest(), metadata=edge.admin),
        AccessServiceStub(edge.channel).CreateApiKey(CreateApiKeyRequest(), metadata=edge.admin),
        edge.channel.unary_unary("/luthier.v1.JobService/DropTables")(b"", metadata=edge.admin),
        edge.channel.unary_unary("//luthier.v1.JobService/GetJob")(b"", metadata=edge.admin),
    )
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_health_is_open_and_reflection_is_not(edge):
    health = await health_pb2_grpc.HealthStub(edge.channel).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING

    async def services(metadata):
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(edge.channel)
        answer = await stub.ServerReflectionInfo(iter([request]), metadata=metadata).read()
        return {service.name for service in answer.list_services_response.service}

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await services(())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    listed = await services(edge.reader)
    assert {"luthier.v1.JobService", "luthier.v1.InferenceService"} <= listed
    assert not {"luthier.v1.WorkerService", "luthier.v1.AccessService"} & listed


async def test_a_key_is_asked_for_once_and_again_when_its_time_is_over(edge, start_coordinator):
    now = 0.0
    async with start_coordinator(edge.backend) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        keys = ApiKeys(channel, "internal-secret", keep_seconds=30, clock=lambda: now)
        header = edge.admin[0][1]
        for _ in range(3):
            assert (await keys.authenticate(header)).project_id == "prj_1"
        assert edge.backend.num_authentications == 1
        now = 30.1
        await keys.authenticate(header)
        assert edge.backend.num_authentications == 2


async def test_the_cache_of_keys_is_bounded(edge, start_coordinator):
    async with start_coordinator(edge.backend) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        keys = ApiKeys(channel, "internal-secret", capacity=1)
        for header in (edge.admin[0][1], edge.reader[0][1], edge.admin[0][1]):
            await keys.authenticate(header)
    assert edge.backend.num_authentications == 3


async def test_one_key_cannot_hold_every_stream(edge):
    calls = [edge.jobs.WatchJob(WatchJobRequest(job_id="j"), metadata=edge.admin) for _ in range(64)]
    await asyncio.gather(*(call.read() for call in calls))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await edge.jobs.WatchJob(WatchJobRequest(job_id="j"), metadata=edge.admin).read()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    calls[0].cancel()
    await edge.backend.watch_ended.wait()
    async with asyncio.timeout(30):
        while True:
            try:
                await edge.jobs.WatchJob(WatchJobRequest(job_id="j"), metadata=edge.admin).read()
            except grpc.aio.AioRpcError:
                continue
            break


async def test_chat_passes_the_same_door(edge):
    chat = InferenceServiceStub(edge.channel).Chat
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await chat(ChatRequest(deployment_id="d")).read()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await chat(ChatRequest(deployment_id="d"), metadata=edge.reader).read()
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_our_errors_reach_the_client_as_their_status(edge):
    messages = [ChatMessage(role="user", content="x")] * 1000
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await InferenceServiceStub(edge.channel).Chat(ChatRequest(messages=messages), metadata=edge.admin).read()
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1000 messages" in refused.value.details()
