"""A run that was killed and resumed is the run that was not: the same bits, whatever was trained, and how."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Outcome,
    Recorder,
    make_documents,
    make_engine,
    make_model,
    make_store,
    read_weights,
    same,
    weights,
)

# An epoch is 4 steps with packing (8 packs), and 7 without (40 documents, the last step short).
PACKED = {"gradient_accumulation_steps": 2, "num_train_epochs": 3.5}
UNPACKED = {"packing": False, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
CADENCE = {"eval_steps": 5, "save_steps": 3, "save_total_limit": 2}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora-packed": ("lora", PACKED | CADENCE),
    "lora-unpacked": ("lora", UNPACKED | CADENCE | {"num_train_epochs": 2.0}),
    "full-packed": ("full", PACKED | CADENCE | {"learning_rate": 2e-3}),
    "full-unpacked": ("full", UNPACKED | CADENCE | {"num_train_epochs": 2.0, "learning_rate": 2e-3}),
}


def start(folder: Path, report: Recorder, name: str, **arguments: Any) -> Outcome:
    """Dropout is on where the method has any."""
    method, settings = RUNS[name]
    return Outcome.of(*make_engine(folder, report, model=make_model(method, dropout=0.2), **settings, **arguments))


def kill(folder: Path, report: Killer, name: str, **arguments: Any) -> list[Checkpoint]:
    """Kills the run; the checkpoints that it left."""
    with pytest.raises(KilledError):
        start(folder, report, name, **arguments)
    torch.rand(17)  # a new process would not find the generator where the old one left it
    return report.checkpoints


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """The runs that nobody kills."""
    return {name: start(tmp_path_factory.mktemp(name), Recorder(), name) for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_the_runs_shuffle_every_epoch_and_learn(straight: dict[str, Outcome], name: str) -> None:
    outcome = straight[name]
    assert len(set(outcome.samples)) == len(outcome.samples) >= 14, "no two steps have the same documents"
    assert outcome.rows[-1]["loss"] < 0.9 * outcome.rows[0]["loss"]
    assert len({row["learning_rate"] for row in outcome.rows}) > 10


# The first one; around a save (3), a validation (5) and the ends of epochs (4, 7 and 8); the last but one.
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13])
@pytest.mark.parametrize("name", RUNS)
def test_killed_at_any_step_it_ends_the_same(
    tmp_path: Path, straight: dict[str, Outcome], name: str, step: int
) -> None:
    left = kill(tmp_path / "first", Killer(step, saved=False), name)
    assert start(tmp_path / "second", Recorder(), name, earlier=left, fence=2) == straight[name]


@pytest.mark.parametrize("step", [3, 5, 9, 12])
@pytest.mark.parametrize("name", RUNS)
def test_killed_right_after_a_save_it_ends_the_same(
    tmp_path: Path, straight: dict[str, Outcome], name: str, step: int
) -> None:
    left = kill(tmp_path / "first", Killer(step, saved=True), name)
    assert left[0].step == step
    assert start(tmp_path / "second", Recorder(), name, earlier=left, fence=2) == straight[name]


@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again_it_ends_the_same(tmp_path: Path, straight: dict[str, Outcome], name: str) -> None:
    left: list[Checkpoint] = []
    for fence, step in enumerate((4, 5, 8, 9, 12), start=1):
        left = kill(tmp_path / str(fence), Killer(step, saved=False), name, earlier=left, fence=fence) + left
    assert start(tmp_path / "last", Recorder(), name, earlier=left, fence=9) == straight[name]


@pytest.mark.parametrize("name", RUNS)
def test_a_torn_newest_checkpoint_changes_nothing(tmp_path: Path, straight: dict[str, Outcome], name: str) -> None:
    left = kill(tmp_path / "first", Killer(9, saved=True), name)
    assert [checkpoint.step for checkpoint in left[:2]] == [9, 6]
    (Path(left[0].uri) / "optimizer.0.safetensors").write_bytes(b"torn")
    assert start(tmp_path / "second", Recorder(), name, earlier=left, fence=2) == straight[name]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_checkpoint_holds_what_is_trained(tmp_path: Path, method: str) -> None:
    report = Recorder()
    engine, model = make_engine(tmp_path, report, model=make_model(method), max_steps=3, validation=[])
    engine.run()
    assert same(read_weights(make_store(tmp_path, report), report.checkpoints[0]), weights(model))


def test_other_circumstances_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report = Recorder()
    make_engine(tmp_path / "first", report, max_steps=2)[0].run()
    make_engine(tmp_path / "again", Recorder(), max_steps=4, earlier=report.checkpoints, fence=2)
    assert "last digits" not in caplog.text
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "__version__", "2.99.0")
    make_engine(tmp_path / "other", Recorder(), max_steps=4, earlier=report.checkpoints, fence=3)
    assert "num_threads 64 instead of 1" in caplog.text
    assert f"torch 2.99.0 instead of {torch.version.__version__}" in caplog.text


def test_the_same_documents_are_known_by_their_digest(tmp_path: Path) -> None:
    """The digest is of the documents of a step, in their order, and of nothing else."""
    one = Outcome.of(*make_engine(tmp_path / "1", Recorder(), max_steps=6))
    other = Outcome.of(*make_engine(tmp_path / "2", Recorder(), model=make_model(dropout=0.0), max_steps=6))
    shuffled = Outcome.of(*make_engine(tmp_path / "3", Recorder(), max_steps=6, seed=6))
    fewer = Outcome.of(*make_engine(tmp_path / "4", Recorder(), max_steps=6, train=make_documents(39)))
    assert one.samples == other.samples
    assert not set(one.samples) & set(shuffled.samples)
    assert one.samples != fewer.samples
