"""Assignments for tiny stages, a coordinator that says what a test wants, and a tiny tuned model."""

import asyncio
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import ArtifactRef, publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import (
    ClaimStageRequest,
    ClaimStageResponse,
    CompleteStageRequest,
    CompleteStageResponse,
    FailStageRequest,
    FailStageResponse,
    GangPlace,
    HeartbeatRequest,
    HeartbeatResponse,
    LeaveGangRequest,
    LeaveGangResponse,
    RecordDeadLetterRequest,
    RecordDeadLetterResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    ReportStageRequest,
    ReportStageResponse,
    StageAssignment,
    StageVerdict,
)
from workers.task import Task

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
        self.left: list[LeaveGangRequest] = []
        self.place: GangPlace | None = None
        self.registered: list[RegisterWorkerRequest] = []
        self.claims: list[ClaimStageRequest] = []
        self.dead_letters: list[RecordDeadLetterRequest] = []
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
        verdicts = [
            StageVerdict(stage_id=stage.stage_id, verdict=self.verdict, gang=self.place) for stage in request.stages
        ]
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

    async def leave_gang(self, request: LeaveGangRequest) -> LeaveGangResponse:
        self._note(self.left, request)
        return LeaveGangResponse()

    async def record_dead_letter(self, request: RecordDeadLetterRequest) -> RecordDeadLetterResponse:
        self._note(self.dead_letters, request)
        return RecordDeadLetterResponse()

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


QUESTIONS = {"red": '{"stop": true}', "green": '{"stop": false}', "yellow": '{"wait": 1}', "blue": "unknown"}
"""What the tiny tuned model has learnt by heart."""


@pytest.fixture(scope="session")
def teachable_model_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with larger weights: with those of its initialisation no adapter could make it sure of a word."""
    import torch

    from workers.models import load_model, load_tokenizer

    folder = tmp_path_factory.mktemp("models") / "teachable"
    model = load_model(tiny_model_dir, torch.bfloat16)
    with torch.no_grad():
        model.get_decoder().norm.weight.fill_(20.0)
        for name, weight in model.named_parameters():
            weight.mul_(4.0 if "_proj" in name else 1.0)
    model.save_pretrained(folder)
    load_tokenizer(tiny_model_dir).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter_dir(teachable_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train artifact: `adapter/` trained with plain PEFT on QUESTIONS until the tiny model knows the answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    from workers.models import load_model, load_tokenizer

    tokenizer = load_tokenizer(teachable_model_dir)
    torch.manual_seed(0)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_model(teachable_model_dir, torch.float32), config)
    rows = [_encode(tokenizer, question, answer) for question, answer in QUESTIONS.items()]
    longest = max(len(input_ids) for input_ids, _ in rows)
    inputs = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
    wanted = torch.tensor([trainable + [False] * (longest - len(trainable)) for _, trainable in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        model(input_ids=inputs, labels=inputs.masked_fill(~wanted, -100)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("train")
    model.save_pretrained(folder / "adapter")
    (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture(scope="session")
def whole_model_dir(teachable_model_dir: Path, adapter_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A train artifact as full fine-tuning leaves it: `model/`, which knows the answers to QUESTIONS."""
    import torch

    from workers.export.merge import merge
    from workers.models import load_tokenizer, save_model
    from workers.models.tuned import load_tuned

    folder = tmp_path_factory.mktemp("train")
    merged = merge(load_tuned(teachable_model_dir, adapter_dir, torch.float32))
    save_model(merged, load_tokenizer(teachable_model_dir), folder / "model", torch.float32)
    (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture
def tuned_task(
    teachable_model_dir: Path, adapter_dir: Path, whole_model_dir: Path, tmp_path: Path
) -> Callable[..., Task]:
    """A function that makes the task of a stage: what the earlier stages left are published artifacts.

    `method` in the job file decides which train artifact there is, unless `outputs` has one.
    """

    def make(
        kind: str,
        *,
        train: Sequence[str] = (),
        test: Sequence[str] | None = tuple(QUESTIONS),
        validation: Sequence[str] | None = (),
        outputs: Mapping[str, StageOutputs] | None = None,
        **spec: Any,
    ) -> Task:
        root = tmp_path / uuid.uuid4().hex[:8]
        (root / "work").mkdir(parents=True)
        dataset = _write_dataset(
            root / "dataset", teachable_model_dir, {"train": train, "validation": validation, "test": test}
        )
        trained = whole_model_dir if spec.get("method") == {"type": "full"} else adapter_dir
        inputs = {
            "preprocess": _publish(dataset, root, num_rows={"train": 4}, num_trainable_tokens=40),
            "train": _publish(_copy(trained, root), root, num_steps=100, precision="float32"),
            **(outputs or {}),
        }
        document = {"name": "Lights", "base_model": str(teachable_model_dir), "data": {"path": "/data.jsonl"}, **spec}
        stage = Stage(stage_id="stage-1", job_id="job_0123456789abcdef", name=kind, kind=kind, attempt=1, fence=7)
        assignment = StageAssignment(stage=stage, job_name="Lights", inputs=inputs, output_uri=str(root / "out"))
        settings = WorkerSettings(data_roots=str(teachable_model_dir.parent))
        return Task(assignment, JobSpec.model_validate(document), settings, root / "work")

    return make


class QuietReport:
    """A report that remembers the progress; `stop` makes it ask the stage to stop."""

    def __init__(self, *, stop: bool = False) -> None:
        self.stop = stop
        self.steps: list[tuple[int, int, str, float | None]] = []

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        self.steps.append((step, num_steps, message, eta_seconds))

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Not asked for here."""

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """Not asked for here."""

    def retire(self, uris: Sequence[str]) -> None:
        """Not asked for here."""

    def should_stop(self) -> bool:
        return self.stop


@pytest.fixture
def quiet_report() -> QuietReport:
    """A report to hand to a stage."""
    return QuietReport()


def _encode(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[bool]]:
    """Token ids of one exchange, and which of them are the answer and its end."""
    from workers.data.tokens.render import render_prompt, render_texts, token_ids

    messages = _messages(question, answer)
    prompt = render_prompt(tokenizer, messages[:-1])
    text = render_texts(tokenizer, [messages], add_generation_prompt=False)[0].rstrip("\n")
    input_ids = token_ids(tokenizer, [text])[0]
    return input_ids, [place >= len(prompt) for place in range(len(input_ids))]


def _messages(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _write_dataset(folder: Path, model: Path, splits: Mapping[str, Sequence[str] | None]) -> Path:
    """A dataset artifact with those questions per split; None writes one row of plain text instead."""
    from workers.data.dataset import write_split
    from workers.models import load_tokenizer

    tokenizer = load_tokenizer(model)
    folder.mkdir()
    for name, questions in splits.items():
        rows = []
        for number, question in enumerate(questions or (), start=1):
            input_ids, trainable = _encode(tokenizer, question, QUESTIONS[question])
            messages = json.dumps(_messages(question, QUESTIONS[question]))
            place = {"row": number, "source": "lights.jsonl"}
            rows.append({**place, "input_ids": input_ids, "trainable": trainable, "messages": messages})
        if questions is None:
            ids = tokenizer.encode("hello world the quick brown fox")
            rows.append({"row": 1, "source": "lights.txt", "input_ids": ids, "trainable": [True] * len(ids)})
        write_split(folder, name, rows)
    return folder


def _copy(folder: Path, root: Path) -> Path:
    return Path(shutil.copytree(folder, root / f"copy-{folder.name}"))


def _publish(folder: Path, root: Path, **result: Any) -> StageOutputs:
    ref = publish(folder, str(root / "artifacts" / folder.name))
    artifact = Artifact(uri=ref.uri, digest=ref.digest, num_bytes=ref.num_bytes)
    return StageOutputs(artifact=artifact, result_json=json.dumps(result))
