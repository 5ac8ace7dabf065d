"""Checkpoints: whole or absent, ours or refused, and the best one stays."""

import errno
from pathlib import Path

import pytest
import torch

from luthier.artifacts import ArtifactError, ArtifactRef, read_manifest
from luthier.v1.stage_pb2 import Checkpoint
from workers.training import checkpoints as module
from workers.training.checkpoints import CheckpointStore, Snapshot
from workers.training.sampler import Position
from workers.training.state import Best, Progress

KEY = b"secret"


def make_store(
    folder: Path, *, keep: int = 2, key: bytes = KEY, earlier: list[Checkpoint] | None = None
) -> CheckpointStore:
    return CheckpointStore(str(folder / "c"), 7, folder / "scratch", keep=keep, key=key, earlier=earlier or ())


def snapshot(step: int, best: Best | None = None) -> Snapshot:
    return Snapshot(
        progress=Progress(step=step, best=best, history=[{"step": float(step), "loss": 0.1}]),
        adapter={"a.lora_A": torch.full((2, 3), float(step))},
        optimizer={"a.lora_A/exp_avg": torch.ones(2, 3), "a.lora_A/step": torch.tensor(float(step))},
        rng={"cpu": torch.get_rng_state()},
    )


def save(store: CheckpointStore, step: int, best: Best | None = None) -> ArtifactRef:
    return store.save(snapshot(step, best), Position(epoch=1, row=step))


def recorded(*refs: ArtifactRef) -> list[Checkpoint]:
    """As the coordinator hands them out: newest first."""
    return [Checkpoint(uri=ref.uri, digest=ref.digest, step=int(Path(ref.uri).stem)) for ref in reversed(refs)]


def steps_left(folder: Path) -> list[int]:
    return sorted(int(path.name.split(".")[0]) for path in (folder / "c").iterdir())


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    ref = save(make_store(tmp_path), 4, Best(4, 0.5, "x"))
    loaded = make_store(tmp_path, earlier=recorded(ref))
    state = loaded.load(ref.uri, ref.digest)
    assert ref.uri.endswith("/c/4.7")
    assert state.progress == snapshot(4, Best(4, 0.5, "x")).progress
    assert torch.equal(state.adapter["a.lora_A"], torch.full((2, 3), 4.0))
    assert state.optimizer["a.lora_A/step"].item() == 4.0
    assert torch.equal(state.rng["cpu"], torch.get_rng_state())


def test_manifest_tells_where_the_run_is(tmp_path: Path) -> None:
    extra = read_manifest(save(make_store(tmp_path), 4).uri, key=KEY).extra
    assert extra["step"] == 4
    assert extra["sample_position"] == {"epoch": 1, "row": 4}
    assert extra["world_size"] == 1
    assert extra["versions"]["torch"] == torch.__version__


def test_a_changed_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    refs = [save(store, step) for step in (1, 2)]
    (Path(refs[1].uri) / "adapter.safetensors").write_bytes(b"broken")
    loaded = make_store(tmp_path, earlier=recorded(*refs)).load_newest()
    assert loaded is not None
    assert loaded.progress.step == 1


def test_a_checkpoint_that_we_did_not_sign_is_not_resumed(tmp_path: Path) -> None:
    ref = save(make_store(tmp_path, key=b"someone else"), 1)
    store = make_store(tmp_path, earlier=recorded(ref))
    assert store.load_newest() is None
    with pytest.raises(ArtifactError, match="not signed"):
        store.load(ref.uri)


def test_a_lost_best_adapter_is_forgotten(tmp_path: Path) -> None:
    ref = save(make_store(tmp_path), 2, Best(1, 0.5, str(tmp_path / "c" / "1.7")))
    loaded = make_store(tmp_path, earlier=recorded(ref)).load_newest()
    assert loaded is not None
    assert loaded.progress.best is None


def test_old_ones_go_but_never_the_best(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    best = Best(2, 0.5, store.uri_of(2))
    save(store, 1)
    for step in (2, 3, 4, 5):
        save(store, step, best)
    assert steps_left(tmp_path) == [2, 4, 5]


def test_a_full_disk_costs_no_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path)
    for step in (1, 2):
        save(store, step)

    def full(*_: object, **__: object) -> ArtifactRef:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "publish", full)
    with pytest.raises(OSError, match="No space left"):
        save(store, 3)
    assert steps_left(tmp_path) == [1, 2]
    assert not any((tmp_path / "scratch").iterdir())
