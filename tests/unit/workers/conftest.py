"""Assignments for tiny stages, and a coordinator that says what a test wants."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.v1.stage_pb2 import Stage
from luthier.v1.worker_service_pb2 import (
    ClaimStageRequest,
    ClaimStageResponse,
    CompleteStageRequest,
    CompleteStageResponse,
    FailStageRequest,
    FailStageResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    ReportStageRequest,
    ReportStageResponse,
    StageAssignment,
    StageVerdict,
)

STAGES = Path(__file__).parents[2] / "stages"


class FakeCoordinator:
    """Remembers every request. `failures` are raised by the next calls other than heartbeats, one each."""

    def __init__(self) -> None:
        self.verdict: StageVerdict.Verdict | Exception = StageVerdict.VERDICT_OK
        self.failures: list[Exception] = []
        self.heartbeats: list[HeartbeatRequest] = []
        self.reports: list[ReportStageRequest] = []
        self.completed: list[CompleteStageRequest] = []
        self.failed: list[FailStageRequest] = []
        self.registered: list[RegisterWorkerRequest] = []
        self.claims: list[ClaimStageRequest] = []
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[["FakeCoordinator"], object], seconds: float = 30.0) -> None:
        """Waits until a request has made `condition` true."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def register_worker(self, request: RegisterWorkerRequest) -> RegisterWorkerResponse:
        self._note(self.registered, request)
        return RegisterWorkerResponse()

    async def claim_stage(self, request: ClaimStageRequest) -> ClaimStageResponse:
        self._note(self.claims, request)
        return ClaimStageResponse()

    async def heartbeat(self, request: HeartbeatRequest, timeout: float) -> HeartbeatResponse:
        self.heartbeats.append(request)
        self._changed.set()
        if isinstance(self.verdict, Exception):
            raise self.verdict
        verdicts = [StageVerdict(stage_id=stage.stage_id, verdict=self.verdict) for stage in request.stages]
        return HeartbeatResponse(verdicts=verdicts)

    async def report_stage(self, request: ReportStageRequest) -> ReportStageResponse:
        self._note(self.reports, request)
        return ReportStageResponse()

    async def complete_stage(self, request: CompleteStageRequest) -> CompleteStageResponse:
        self._note(self.completed, request)
        return CompleteStageResponse()

    async def fail_stage(self, request: FailStageRequest) -> FailStageResponse:
        self._note(self.failed, request)
        return FailStageResponse()

    def _note(self, log: list, request: object) -> None:
        if self.failures:
            raise self.failures.pop(0)
        log.append(request)
        self._changed.set()


@pytest.fixture
def fake_coordinator() -> FakeCoordinator:
    """A coordinator that says OK to everything until told otherwise."""
    return FakeCoordinator()


@pytest.fixture
def assign(tmp_path: Path) -> Callable[..., StageAssignment]:
    """A function that makes the assignment of a stage of the given kind."""

    def make(kind: str, *, traceparent: str = "") -> StageAssignment:
        spec = {"name": "job", "base_model": "tiny", "data": {"path": str(tmp_path / "data.jsonl")}}
        stage = Stage(stage_id="stage-1", job_id="job-1", name=kind, kind=kind, attempt=1, fence=7)
        return StageAssignment(
            stage=stage, spec_json=json.dumps(spec), output_uri=str(tmp_path / "out"), traceparent=traceparent
        )

    return make


@pytest.fixture
def runner_argv() -> tuple[str, ...]:
    """The runner's command with the tiny stages."""
    return (sys.executable, "-P", "-m", "workers.runner", "--stages", "tiny_stages:STAGES")


@pytest.fixture
def runner_environment() -> dict[str, str]:
    """An environment in which a runner finds the tiny stages."""
    return {**os.environ, "PYTHONPATH": str(STAGES)}
