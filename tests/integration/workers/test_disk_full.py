"""A disk that is really full: a small file system is mounted, filled, and given room again."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from luthier.v1.failure_pb2 import FailureClass
from workers.failures import classify
from workers.training.checkpoints import CheckpointStore, Snapshot
from workers.training.sampler import Position
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


def _snapshot(step: int, num_bytes: int) -> Snapshot:
    adapter = {"a.lora_A": torch.full((num_bytes // 4,), float(step))}
    return Snapshot(progress=Progress(step=step), adapter=adapter, optimizer={}, rng={"cpu": torch.get_rng_state()})


def test_a_full_disk_is_named_and_costs_no_older_checkpoint(small_disk: Path) -> None:
    store = CheckpointStore(str(small_disk / "checkpoints"), 7, small_disk / "scratch", keep=4, key=b"key")
    older = store.save(_snapshot(1, 3 * MIB), Position(0, 1))
    with pytest.raises(Exception, match="No space left on device") as caught:
        store.save(_snapshot(2, 6 * MIB), Position(0, 2))
    failure = classify(caught.value)
    assert failure.failure_class == FailureClass.FAILURE_CLASS_STORAGE_FULL
    assert "free space" in failure.message
    assert [path.name for path in (small_disk / "checkpoints").iterdir()] == ["1.7"]
    assert store.load(older.uri, older.digest).adapter["a.lora_A"][0] == 1.0
    assert store.save(_snapshot(3, 3 * MIB), Position(0, 3)).uri.endswith("/3.7")
