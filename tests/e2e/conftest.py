"""One real platform for all tests here: `luthier up` in a home of its own, and a collector of its traces."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from tests.e2e.harness import Collector, Platform, platform


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        server = grpc.server(pool)
        servicer = Collector()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, server)
        servicer.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield servicer
        server.stop(grace=None)


@pytest.fixture(scope="session")
def stack(collector: Collector) -> Iterator[Platform]:
    """The whole platform, up."""
    variables = {"LUTHIER_LEASE": "PT3S", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    with platform(**variables, OTEL_BSP_SCHEDULE_DELAY="200", OMP_NUM_THREADS="1") as made:
        done = made.luthier("up", "--detach")
        assert done.returncode == 0, done.stderr
        yield made
