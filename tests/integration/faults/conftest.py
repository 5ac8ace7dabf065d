"""Coordinators as processes of their own, so that they can be killed and frozen."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

TOKEN = "internal-token-of-the-tests"
SERVING = health_pb2.HealthCheckResponse.SERVING


@dataclass(frozen=True)
class CoordinatorProcess:
    """One `python -m coordinator`."""

    address: str
    process: "subprocess.Popen[bytes]"

    async def becomes(self, status: int = SERVING, seconds: float = 60.0) -> None:
        """Returns once its health is `status`."""
        async with asyncio.timeout(seconds), grpc.aio.insecure_channel(self.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest()
            async for reply in stub.Watch(request, wait_for_ready=True):
                if reply.status == status:
                    return

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def start_coordinator(
    postgres_url: str, nats_url: str, free_port: Callable[[], int], tmp_path: Path
) -> AsyncIterator[Callable[..., CoordinatorProcess]]:
    """Starts coordinators on the same stores; lease 3 s."""
    started: list[CoordinatorProcess] = []

    def start(**changes: str) -> CoordinatorProcess:
        address = f"127.0.0.1:{free_port()}"
        variables = {
            "LUTHIER_DATABASE_URL": postgres_url,
            "LUTHIER_NATS_URL": nats_url,
            "LUTHIER_INTERNAL_TOKEN": TOKEN,
            "LUTHIER_COORDINATOR_LISTEN": address,
            "LUTHIER_ARTIFACTS": str(tmp_path / "artifacts"),
            "LUTHIER_LEASE": "3s",
            "LUTHIER_RECONCILE_INTERVAL": "0.5s",
            "LUTHIER_STOP_GRACE": "2s",
            "LUTHIER_LOG_FORMAT": "text",
        }
        with (tmp_path / f"coordinator-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "coordinator"],
                env={**os.environ, **variables, **changes},
                stdout=log,
                stderr=log,
            )
        made = CoordinatorProcess(address, process)
        started.append(made)
        return made

    yield start
    for made in started:
        made.thaw()
        made.kill()
