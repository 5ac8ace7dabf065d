"""Checkpoints: whole or absent, ours or refused, and the best one stays."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from luthier.artifacts import ArtifactRef, read_manifest
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import KEY, Recorder
from workers.training import draft
from workers.training.checkpoints import CheckpointStore
from workers.training.environment import Environment
from workers.training.host_copy import HostCopy
from workers.training.pieces import Piece, wholes
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot
from workers.training.state import Best, Progress


def make_store(
    folder: Path,
    *,
    keep: int = 2,
    key: bytes = KEY,
    fence: int = 7,
    report: Recorder | None = None,
    earlier: list[Checkpoint] | None = None,
) -> CheckpointStore:
    return CheckpointStore(
        str(folder / "c"),
        fence,
        folder / "scratch",
        keep=keep,
        key=key,
        report=report or Recorder(),
        earlier=earlier or (),
    )


def snapshot(step: int, best: Best | None = None) -> Snapshot[Piece]:
    return Snapshot(
        progress=Progress(step=step, best=best, history=[{"step": float(step), "loss": 0.1}], samples=["ab"]),
        weights=wholes({"a.lora_A": torch.full((2, 3), float(step))}),
        optimizer=wholes({"a.lora_A/exp_avg": torch.ones(2, 3), "a.lora_A/step": torch.tensor(float(step))}),
        rng={"cpu": torch.get_rng_state()},
        environment=Environment(compute="float32", torch="2.13", device="cpu AVX2", num_threads=2),
    )


def save(store: CheckpointStore, step: int, best: Best | None = None) -> ArtifactRef:
    """Saves, waits for the commit, and returns what is there then."""
    store.save(snapshot(step, best), Position(epoch=1, row=step))
    store.wait()
    manifest = read_manifest(store.uri_of(step))
    return ArtifactRef(store.uri_of(step), manifest.digest, manifest.num_bytes)


def _full(_: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def recorded(*refs: ArtifactRef) -> list[Checkpoint]:
    """As the coordinator hands them out: newest first."""
    return [Checkpoint(uri=ref.uri, digest=ref.digest, step=int(Path(ref.uri).stem)) for ref in reversed(refs)]


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    ref = save(make_store(tmp_path), 4, Best(4, 0.5, "x"))
    loaded = make_store(tmp_path, earlier=recorded(ref))
    state = loaded.load(ref.uri, ref.digest)
    assert ref.uri.endswith("/c/4.7")
    assert state.progress == snapshot(4, Best(4, 0.5, "x")).progress
    assert torch.equal(state.weights["a.lora_A"].whole(), torch.full((2, 3), 4.0))
    assert state.optimizer["a.lora_A/step"].whole().item() == 4.0
    assert torch.equal(state.rng["cpu"], torch.get_rng_state())
    assert state.environment == snapshot(4).environment


def test_manifest_tells_where_the_run_is(tmp_path: Path) -> None:
    extra = read_manifest(save(make_store(tmp_path), 4).uri, key=KEY).extra
    assert extra["step"] == 4
    assert extra["sample_position"] == {"epoch": 1, "row": 4}
    assert extra["world_size"] == 1
    assert extra["environment"]["torch"] == "2.13"


def test_a_lost_best_is_forgotten(tmp_path: Path) -> None:
    ref = save(make_store(tmp_path), 2, Best(1, 0.5, str(tmp_path / "c" / "1.7")))
    loaded = make_store(tmp_path, earlier=recorded(ref)).load_newest()
    assert loaded is not None
    assert loaded.progress.best is None


def test_old_ones_are_named_and_stay_until_others_remove_them(tmp_path: Path) -> None:
    report = Recorder()
    store = make_store(tmp_path, report=report)
    best = Best(2, 0.5, store.uri_of(2))
    save(store, 1)
    for step in (2, 3, 4, 5):
        save(store, step, best)
    assert report.retired == [store.uri_of(1), store.uri_of(3)]
    assert [checkpoint.step for checkpoint in report.checkpoints] == [5, 4, 3, 2, 1]
    assert len([*(tmp_path / "c").iterdir()]) == 5


def test_those_of_earlier_attempts_come_under_the_limit(tmp_path: Path) -> None:
    first = make_store(tmp_path, fence=1)
    best = Best(2, 0.5, first.uri_of(2))
    refs = [save(first, 1), *(save(first, step, best) for step in (2, 3, 4))]
    report = Recorder()
    second = make_store(tmp_path, fence=2, report=report, earlier=recorded(*refs))
    assert second.load_newest() is not None
    save(second, 5, best)
    assert report.retired == [first.uri_of(1), first.uri_of(3)]
    save(second, 6, Best(6, 0.4, second.uri_of(6)))
    assert report.retired[2:] == [first.uri_of(4)], "the one of step 5 still names the old best"
    save(second, 7, Best(6, 0.4, second.uri_of(6)))
    assert report.retired[3:] == [first.uri_of(2), second.uri_of(5)]


def test_an_unusable_one_does_not_count(tmp_path: Path) -> None:
    """Else two usable ones would have to make room for it, and a torn newest one would be the last."""
    first = make_store(tmp_path, fence=1)
    refs = [save(first, step) for step in (1, 2, 3)]
    (Path(refs[2].uri) / "manifest.json").unlink()
    report = Recorder()
    second = make_store(tmp_path, fence=2, report=report, earlier=recorded(*refs))
    loaded = second.load_newest()
    assert loaded is not None
    assert loaded.progress.step == 2
    save(second, 3)
    assert report.retired == [first.uri_of(1)]


def test_the_state_of_the_moment_is_what_is_written(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    state = snapshot(1)
    store.save(state, Position(0, 0))
    state.weights["a.lora_A"].values.fill_(9.0)
    state.progress.step = 2
    state.progress.history.append({"loss": 0.0})
    store.wait()
    loaded = store.load(store.uri_of(1))
    assert loaded.weights["a.lora_A"].whole().eq(1.0).all()
    assert loaded.progress == snapshot(1).progress


def test_what_is_a_copy_is_not_copied_again() -> None:
    state = replace(snapshot(1), is_copied=True)
    taken = HostCopy().take(state)
    assert all(taken.weights[name] is piece for name, piece in state.weights.items())
    assert all(taken.optimizer[name] is piece for name, piece in state.optimizer.items())
    assert taken.rng["cpu"] is not state.rng["cpu"]


def test_what_is_written_in_place_is_committed_before_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Recorder()
    store = make_store(tmp_path, report=report)
    state = replace(snapshot(1), is_written_in_place=True)
    store.save(state, Position(0, 0))
    state.weights["a.lora_A"].values.fill_(9.0)
    assert [checkpoint.step for checkpoint in report.checkpoints] == [1]
    assert store.load(store.uri_of(1)).weights["a.lora_A"].whole().eq(1.0).all()
    monkeypatch.setattr(draft, "describe_file", _full)
    with pytest.raises(OSError, match="No space left"):
        store.save(replace(snapshot(2), is_written_in_place=True), Position(0, 0))


def test_a_full_disk_comes_out_as_itself_and_costs_no_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = Recorder()
    store = make_store(tmp_path, report=report)
    for step in (1, 2):
        save(store, step)

    monkeypatch.setattr(draft, "describe_file", _full)
    store.save(snapshot(3), Position(0, 0))
    with pytest.raises(OSError, match="No space left"):
        store.save(snapshot(4), Position(0, 0))
    store.save(snapshot(4), Position(0, 0))
    with pytest.raises(OSError, match="No space left"), store:
        pass
    assert [checkpoint.step for checkpoint in report.checkpoints] == [2, 1]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["1.7", "2.7"]
    assert not (tmp_path / "scratch").exists()


def test_an_error_on_the_way_out_is_not_hidden_by_that_of_the_last_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(draft, "describe_file", _full)

    def fail() -> None:
        with make_store(tmp_path) as store:
            store.save(snapshot(3), Position(0, 0))
            raise RuntimeError("the reason")

    with pytest.raises(RuntimeError, match="the reason"):
        fail()
    assert "No space left" in caplog.text
