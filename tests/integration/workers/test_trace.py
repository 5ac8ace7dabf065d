"""One trace from the wake-up to the stage: an OTLP receiver sees what worker and runner export."""

import asyncio

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)


class Receiver(TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []
        """Service, name and trace id of every span."""

    async def Export(self, request, context):
        for resource in request.resource_spans:
            service = next(
                pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
            )
            self.spans += [
                (service, span.name, span.trace_id.hex()) for scope in resource.scope_spans for span in scope.spans
            ]
        return ExportTraceServiceResponse()


@pytest.fixture
async def receiver(free_port):
    receiver, server = Receiver(), grpc.aio.server()
    add_TraceServiceServicer_to_server(receiver, server)
    receiver.port = server.add_insecure_port(f"127.0.0.1:{free_port()}")
    await server.start()
    yield receiver
    await server.stop(None)


async def test_every_stage_is_a_span_of_the_jobs_trace(platform, receiver):
    platform.set("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
    platform.coordinator()
    worker = platform.worker()
    job = await platform.ended(await platform.submit("echo"))
    worker.terminate()
    assert await asyncio.to_thread(worker.wait, 30) == 0
    ours = [(service, name) for service, name, trace_id in receiver.spans if trace_id == job.trace_id]
    for kind in ("preprocess", "train", "evaluate", "export"):
        assert ("luthier-runner", f"stage.{kind}") in ours
    assert ours.count(("luthier-worker", "worker.claim")) >= 1
    assert ours.count(("luthier-worker", "worker.attempt")) == 4
