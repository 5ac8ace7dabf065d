"""A disk that is really full: a small file system is mounted, filled, and given room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from luthier.v1.failure_pb2 import FailureClass
from tests.unit.workers.training.tiny_run import Recorder, make_store
from workers.failures import classify
from workers.training.environment import current_environment
from workers.training.pieces import Piece, wholes
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot
from workers.training.state import Progress

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _snapshot(step: int, num_bytes: int) -> Snapshot[Piece]:
    return Snapshot(
        progress=Progress(step=step),
        weights=wholes({f"{num_bytes}": torch.full((num_bytes // 4,), float(step))}),
        optimizer={},
        rng={"cpu": torch.get_rng_state()},
        environment=current_environment(torch.float32, torch.device("cpu")),
    )


def test_a_full_disk_is_named_and_costs_no_older_checkpoint(small_disk: Path) -> None:
    store = make_store(small_disk, Recorder(), keep=4)
    store.save(_snapshot(1, 3 * MIB), Position(0, 1))
    store.save(_snapshot(2, 6 * MIB), Position(0, 2))
    with pytest.raises(Exception, match="No space left on device") as caught:
        store.wait()
    failure = classify(caught.value)
    assert failure.failure_class == FailureClass.FAILURE_CLASS_STORAGE_FULL
    assert "free space" in failure.message
    assert [path.name for path in (small_disk / "checkpoints").iterdir()] == ["1.1"]
    assert store.load(store.uri_of(1)).weights[f"{3 * MIB}"].whole()[0] == 1.0
    store.save(_snapshot(3, 3 * MIB), Position(0, 3))
    store.wait()
    assert store.load(store.uri_of(3)).weights[f"{3 * MIB}"].whole()[0] == 3.0
