"""What the proxy carries across, and how it behaves when an end goes away."""

import asyncio

import grpc
import pytest

from luthier.v1.job_service_pb2 import GetJobRequest, WatchJobRequest

FORGED = (
    ("x-luthier-project", "prj_other"),
    ("X-Luthier-Key".lower(), "key_other"),
    ("x-luthier-anything", "else"),
    ("x-luthier-binary-bin", b"\x00"),
)


async def test_the_coordinator_gets_the_callers_project_and_our_secret_only(edge):
    response = await edge.jobs.GetJob(GetJobRequest(job_id="j1"), metadata=edge.reader + FORGED)
    assert response.job.job_id == "j1"
    sent = edge.backend.metadata
    assert sent["x-luthier-project"] == "prj_1"
    assert sent["x-luthier-key"] == "key_1"
    assert sent["authorization"] == "Bearer internal-secret"
    assert not {"x-luthier-anything", "x-luthier-binary-bin"} & set(sent)


async def test_the_trace_of_the_client_goes_on(edge):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    traceparent = ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01")
    await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=(*edge.reader, traceparent))
    assert edge.backend.metadata["traceparent"].split("-")[1] == trace_id


async def test_the_deadline_of_the_client_goes_on_and_has_a_ceiling(edge):
    await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=edge.reader, timeout=7)
    assert edge.backend.time_remaining == pytest.approx(7, abs=2)
    await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=edge.reader)
    assert edge.backend.time_remaining == pytest.approx(60, abs=3)


async def test_a_status_comes_back_word_for_word(edge):
    edge.backend.failure = (grpc.StatusCode.FAILED_PRECONDITION, "job j is finished: ünïcode")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=edge.reader)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.details() == "job j is finished: ünïcode"
    assert ("x-reason", "because") in tuple(refused.value.trailing_metadata())


async def test_the_upstream_call_ends_when_the_client_goes(edge):
    call = edge.jobs.WatchJob(WatchJobRequest(job_id="j"), metadata=edge.reader)
    await call.read()
    await edge.backend.watching.wait()
    call.cancel()
    async with asyncio.timeout(30):
        await edge.backend.watch_ended.wait()


async def test_a_request_over_four_mebibytes_is_refused(edge):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await edge.jobs.GetJob(GetJobRequest(job_id="j" * (5 << 20)), metadata=edge.reader)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_without_a_coordinator_calls_are_unavailable_and_work_again_after_its_restart(
    start_coordinator, start_gateway, free_port
):
    port = free_port()
    async with start_gateway(port) as edge:

        async def get():
            return await edge.jobs.GetJob(GetJobRequest(job_id="j"), metadata=edge.reader, timeout=5)

        async def refusal():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await get()
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert str(port) not in refused.value.details()
            return refused.value.details()

        assert "key cannot be checked" in await refusal()
        async with start_coordinator(port=port):
            async with asyncio.timeout(30):
                while True:
                    try:
                        await get()
                    except grpc.aio.AioRpcError:
                        continue
                    break
        assert await refusal() == "the coordinator does not answer; try again"
        async with start_coordinator(port=port), asyncio.timeout(30):
            while True:
                try:
                    await get()
                except grpc.aio.AioRpcError:
                    continue
                break


async def test_a_stop_ends_open_streams_at_once_with_unavailable(start_coordinator, start_gateway):
    async with start_coordinator() as port:
        async with start_gateway(port) as edge:
            call = edge.jobs.WatchJob(WatchJobRequest(job_id="j"), metadata=edge.reader)
            await call.read()
            # Leaving the block stops the server within its grace of five seconds.
            ended = asyncio.create_task(call.read())
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 3
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await ended
