"""Our own processes as children of the launcher: coordinator, gateway and workers, configured by environment only.

They are the programs of a cluster; nothing but the URLs is local. Secrets travel in the environment, never in an
argument list. Each is asked whether it still says something: coordinator and gateway by their health, a worker by what
the coordinator has heard of it.
"""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from luthier.local.child import ChildSpec
from luthier.local.home import Home
from luthier.settings import service_environment, worker_secrets
from luthier.transport import CLIENT_OPTIONS
from luthier.v1.admin_service_pb2 import ListWorkersRequest
from luthier.v1.admin_service_pb2_grpc import AdminServiceStub
from luthier.v1.worker_pb2 import Worker
from luthier.v1.worker_service_pb2 import HeartbeatRequest
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub

_PROBE_SECONDS = 2.0
_PATIENT_PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Wiring:
    """Where the children find each other."""

    database_url: str = field(repr=False)
    nats_url: str = field(repr=False)
    artifacts: str
    coordinator: str
    gateway: str
    triton_url: str
    triton_unavailable_reason: str
    triton_repository: Path


def coordinator_child(home: Home, wiring: Wiring) -> ChildSpec:
    """The only writer of job state. Its first start creates the tables."""
    own = {
        "LUTHIER_DATABASE_URL": wiring.database_url,
        "LUTHIER_NATS_URL": wiring.nats_url,
        "LUTHIER_ARTIFACTS": wiring.artifacts,
        "LUTHIER_COORDINATOR_LISTEN": wiring.coordinator,
        "LUTHIER_INTERNAL_TOKEN": home.secrets().internal_token,
    }
    return _service(home, "coordinator", own, wiring.coordinator)


def gateway_child(home: Home, wiring: Wiring) -> ChildSpec:
    """The public edge."""
    own = {
        "LUTHIER_COORDINATOR": wiring.coordinator,
        "LUTHIER_GATEWAY_LISTEN": wiring.gateway,
        "LUTHIER_TRITON_URL": wiring.triton_url,
        "LUTHIER_INTERNAL_TOKEN": home.secrets().internal_token,
    }
    return _service(home, "gateway", own, wiring.gateway)


def worker_child(home: Home, wiring: Wiring, worker_class: str, worker_id: str) -> ChildSpec:
    """One worker for stages of one class, `cpu` or `gpu`."""
    secrets = home.secrets()
    own = {
        "LUTHIER_COORDINATOR": wiring.coordinator,
        "LUTHIER_NATS_URL": wiring.nats_url,
        "LUTHIER_ARTIFACTS": wiring.artifacts,
        "LUTHIER_INTERNAL_TOKEN": secrets.internal_token,
        "LUTHIER_CHECKPOINT_KEY": secrets.checkpoint_key,
        "LUTHIER_WORKER_ID": worker_id,
        "LUTHIER_WORKER_CLASSES": worker_class,
        "LUTHIER_WORK_DIR": str(home.work / worker_class),
        "LUTHIER_MODEL_CACHE": str(home.models),
        "LUTHIER_TRITON_URL": wiring.triton_url,
        "LUTHIER_TRITON_UNAVAILABLE_REASON": wiring.triton_unavailable_reason,
        "LUTHIER_TRITON_REPOSITORY": str(wiring.triton_repository),
    }
    # Whoever submits jobs here started this worker and owns its files: what the job may read, that person may read.
    environment = {"LUTHIER_DATA_ROOTS": "/,hf://datasets", **_common(home), **worker_secrets(), **own}

    async def answers() -> bool:
        return await _is_registered(wiring.coordinator, secrets.internal_token, worker_id)

    async def responds() -> bool:
        return not await _is_lost(wiring.coordinator, secrets.internal_token, worker_id)

    return ChildSpec(
        name=f"worker-{worker_class}",
        argv=(sys.executable, "-P", "-m", "workers"),
        log=home.log(f"worker-{worker_class}"),
        answers=answers,
        responds=responds,
        environment=environment,
        # It drains: the runner writes a last checkpoint and the stage is given back (LUTHIER_DRAIN_GRACE, 30 s).
        stop_seconds=45.0,
    )


def has_accelerator() -> bool:
    """Whether the NVIDIA driver lists a device."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S607
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU" in done.stdout


async def is_serving(address: str) -> bool:
    """Whether the gRPC server at `host:port` says by grpc.health.v1 that it serves."""
    async with grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def is_alive(address: str) -> bool:
    """Whether the gRPC server at `host:port` answers at all, be it that it cannot serve."""
    async with grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=_PATIENT_PROBE_SECONDS)
        except grpc.aio.AioRpcError:
            return False
    return True


async def _is_lost(coordinator: str, token: str, worker_id: str) -> bool:
    """Whether the coordinator has not heard of that worker for a whole lease; False when it cannot tell."""
    async with grpc.aio.insecure_channel(coordinator, options=CLIENT_OPTIONS) as channel:
        stub = AdminServiceStub(channel)
        request = ListWorkersRequest(page_size=1000)
        metadata = (("authorization", f"Bearer {token}"),)
        try:
            reply = await stub.ListWorkers(request, timeout=_PATIENT_PROBE_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError:
            return False
    lost = (worker.worker_id for worker in reply.workers if worker.state == Worker.STATE_LOST)
    return worker_id in lost


async def _is_registered(coordinator: str, token: str, worker_id: str) -> bool:
    """Whether the coordinator knows that worker: a heartbeat that is not the worker's own is NOT_FOUND before that."""
    async with grpc.aio.insecure_channel(coordinator, options=CLIENT_OPTIONS) as channel:
        stub = WorkerServiceStub(channel)
        try:
            request = HeartbeatRequest(worker_id=worker_id)
            await stub.Heartbeat(request, timeout=_PROBE_SECONDS, metadata=(("authorization", f"Bearer {token}"),))
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.FAILED_PRECONDITION  # known, and we are somebody else
    return True


def _service(home: Home, name: str, own: Mapping[str, str], address: str) -> ChildSpec:
    async def answers() -> bool:
        return await is_serving(address)

    async def responds() -> bool:
        return await is_alive(address)

    return ChildSpec(
        name=name,
        argv=(sys.executable, "-P", "-m", name),
        log=home.log(name),
        answers=answers,
        responds=responds,
        environment={**_common(home), **own},
    )


def _common(home: Home) -> dict[str, str]:
    local = {"LUTHIER_HOME": str(home.path), "LUTHIER_LOG_FORMAT": "json", "PYTHONUNBUFFERED": "1"}
    return {**service_environment(), **local}
