"""A whole platform without gateway: PostgreSQL, NATS, a coordinator process and worker processes on tiny stages."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
import pytest

from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.event_service_pb2 import ListEventsRequest
from luthier.v1.event_service_pb2_grpc import EventServiceStub
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2 import (
    CancelJobRequest,
    CreateJobRequest,
    GetJobRequest,
    ListJobMetricsRequest,
    PauseJobRequest,
    ResumeJobRequest,
)
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.stage_pb2 import Stage

STAGES = Path(__file__).parents[2] / "stages"
METADATA = (("authorization", "Bearer secret"), ("x-luthier-project", "default"))


@dataclass(frozen=True)
class Run:
    """One line of `runs.log`."""

    stage: str
    attempt: int
    runner: int
    supervisor: int


class Platform:
    """Starts processes, submits jobs, waits for what they do."""

    def __init__(self, folder: Path, postgres_url: str, nats_url: str, port: int) -> None:
        self.nats_url = nats_url
        self._postgres_url = postgres_url
        self.folder = folder
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(STAGES),
            "LUTHIER_DATABASE_URL": postgres_url,
            "LUTHIER_NATS_URL": nats_url,
            "LUTHIER_INTERNAL_TOKEN": "secret",
            "LUTHIER_ARTIFACTS": str(folder / "artifacts"),
            "LUTHIER_COORDINATOR": f"127.0.0.1:{port}",
            "LUTHIER_COORDINATOR_LISTEN": f"127.0.0.1:{port}",
            "LUTHIER_RECONCILE_INTERVAL": "PT0.2S",
            "LUTHIER_LOG_FORMAT": "text",
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._jobs = JobServiceStub(self._channel)
        self._events = EventServiceStub(self._channel)

    def set(self, name: str, value: str) -> None:
        """Sets an environment variable of every process started from now on."""
        self._environment[name] = value

    def coordinator(self, lease: float = 2.0) -> subprocess.Popen[bytes]:
        """Starts a coordinator with a lease of so many seconds."""
        return self._start("coordinator", [], {"LUTHIER_LEASE": f"PT{lease}S"})

    def worker(self, *, stages: str = "tiny_stages:STAGES", **settings: str) -> subprocess.Popen[bytes]:
        """Starts a worker; `settings` are LUTHIER_ variables in lower case."""
        variables = {f"LUTHIER_{name.upper()}": value for name, value in settings.items()}
        return self._start("workers", ["--stages", stages], variables)

    async def submit(self, name: str, **spec: Any) -> str:
        """Submits a job whose first stage behaves as `name` says; returns its id once the coordinator took it."""
        access = AccessServiceStub(self._channel)
        key = CreateApiKeyRequest(project_id="default", display_name="test", key_sha256=os.urandom(32))
        await access.CreateApiKey(key, metadata=METADATA, wait_for_ready=True, timeout=30)
        plain = {"name": name, "base_model": "tiny", "data": {"path": str(self.folder / "data.jsonl")}}
        request = CreateJobRequest(spec_json=json.dumps({**plain, **spec}))
        response = await self._jobs.CreateJob(request, metadata=METADATA)
        return response.job.job_id

    async def job(self, job_id: str) -> Job:
        response = await self._jobs.GetJob(
            GetJobRequest(job_id=job_id), metadata=METADATA, wait_for_ready=True, timeout=30
        )
        return response.job

    async def cancel(self, job_id: str) -> None:
        await self._jobs.CancelJob(CancelJobRequest(job_id=job_id), metadata=METADATA)

    async def pause(self, job_id: str) -> None:
        await self._jobs.PauseJob(PauseJobRequest(job_id=job_id), metadata=METADATA)

    async def resume(self, job_id: str) -> None:
        await self._jobs.ResumeJob(ResumeJobRequest(job_id=job_id), metadata=METADATA)

    async def reached(self, job_id: str, state: Job.State, seconds: float = 30.0) -> Job:
        """The job once it is in `state`."""
        async with asyncio.timeout(seconds):
            while (job := await self.job(job_id)).state != state:  # noqa: ASYNC110 - one call answers with one state
                await asyncio.sleep(0.05)
        return job

    async def stage(self, job_id: str, name: str = "preprocess") -> Stage:
        return next(stage for stage in (await self.job(job_id)).stages if stage.name == name)

    async def started(self, job_id: str, attempt: int, name: str = "preprocess", seconds: float = 60.0) -> Stage:
        """The stage once a worker has claimed it for so many times."""
        async with asyncio.timeout(seconds):
            while (stage := await self.stage(job_id, name)).attempt < attempt:  # noqa: ASYNC110 - one call, one state
                await asyncio.sleep(0.05)
        return stage

    async def query(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Rows of the coordinator's database."""
        connection = await asyncpg.connect(self._postgres_url)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def failures(self, job_id: str) -> list[FailureClass]:
        """Why its stages were tried again, oldest first."""
        request = ListEventsRequest(job_id=job_id, page_size=1000)
        response = await self._events.ListEvents(request, metadata=METADATA)
        retried = [event.stage_retried for event in response.events if event.HasField("stage_retried")]
        return [fact.failure.failure_class for fact in retried]

    async def losses(self, job_id: str) -> list[tuple[str, float]]:
        """Stage and loss of every recorded metric."""
        request = ListJobMetricsRequest(job_id=job_id)
        response = await self._jobs.ListJobMetrics(request, metadata=METADATA)
        return [(metric.stage_name, metric.point.values["loss"]) for metric in response.metrics]

    async def ended(self, job_id: str) -> Job:
        """The job once it is terminal."""
        job = await self.job(job_id)
        while job.state in (Job.STATE_PENDING, Job.STATE_RUNNING):
            await asyncio.sleep(0.1)
            job = await self.job(job_id)
        return job

    def runs(self) -> list[Run]:
        """The attempts that runners began, oldest first."""
        path = self.folder / "runs.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Run(stage, *map(int, numbers)) for stage, *numbers in map(str.split, lines)]

    def let_go(self) -> None:
        """Lets the stage of a `gated` job end."""
        (self.folder / "go").touch()

    def logs(self, name: str) -> str:
        """What the processes called `name` logged."""
        return "".join(path.read_text() for path in sorted(self.folder.glob(f"{name}-*.log")))

    async def until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Waits until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - files and processes tell nobody
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._channel.close()
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def _start(self, module: str, arguments: list[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", module, *arguments]
        with (self.folder / f"{module}-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(argv, env={**self._environment, **variables}, stdout=log, stderr=log)
        self._processes.append(process)
        return process


def is_gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """`is_gone`."""
    return is_gone


@pytest.fixture
async def platform(
    tmp_path: Path, postgres_url: str, nats_url: str, free_port: Callable[[], int]
) -> AsyncIterator[Platform]:
    """A platform of which nothing but PostgreSQL and NATS is started."""
    folder = tmp_path / "platform"
    folder.mkdir()
    platform = Platform(folder, postgres_url, nats_url, free_port())
    yield platform
    await platform.close()
