"""Offload to nvme: on a worker that has what it takes, and on one that lacks something, where it is refused before
anything is loaded, with what to install."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from deepspeed.ops.op_builder import AsyncIOBuilder

from luthier.spec.distributed import ZeroSpec
from luthier.v1.failure_pb2 import FailureClass
from tests.unit.workers.training.conftest import Launch
from tests.unit.workers.training.distributed.runs import NUM_STEPS, read
from workers.failures import ConfigError, StageError
from workers.training.distributed.strategies import make_strategy, nvme
from workers.training.distributed.world import World


class Builder:
    """DeepSpeed's, of a worker with or without libaio, on which compiling goes well or not."""

    NAME = "async_io"

    def __init__(self, has_libaio: bool, error: Exception | None = None) -> None:
        self._has_libaio, self._error = has_libaio, error

    def __call__(self) -> "Builder":
        return self

    def is_compatible(self) -> bool:
        return self._has_libaio

    def load(self, verbose: bool) -> None:
        if self._error is not None:
            raise self._error


def offloaded(folder: Path) -> ZeroSpec:
    return ZeroSpec(type="zero", stage=3, offload_optimizer="nvme", nvme_path=str(folder))


@pytest.mark.parametrize(
    ("builder", "words"),
    [
        (Builder(False), r"install libaio .*libaio-dev on Debian.* on the worker, or keep nothing on nvme.*: cpu"),
        (Builder(True, RuntimeError("no ninja")), r"async_io cannot be compiled on this worker \(no ninja\)"),
    ],
)
def test_a_worker_that_cannot_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, builder: Builder, words: str
) -> None:
    monkeypatch.setattr(nvme, "AsyncIOBuilder", builder)
    with pytest.raises(ConfigError, match=words):
        make_strategy(World(), offloaded(tmp_path / "fast"))


def test_what_a_killed_process_left_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    left = tmp_path / "extensions" / "async_io" / "lock"
    left.parent.mkdir(parents=True)
    left.touch()
    monkeypatch.setattr(nvme, "AsyncIOBuilder", Builder(True))
    make_strategy(World(), offloaded(tmp_path / "fast"))
    assert not left.exists()


def test_without_a_compiler_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvme, "AsyncIOBuilder", Builder(True))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"install a C\+\+ compiler \(g\+\+\) on the worker"):
        make_strategy(World(), offloaded(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"nvme_path .*file/fast cannot be made"):
        make_strategy(World(), offloaded(tmp_path / "file" / "fast"))


def test_a_worker_that_can_makes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvme, "AsyncIOBuilder", Builder(True))
    assert make_strategy(World(), offloaded(tmp_path / "fast")).is_divided
    assert (tmp_path / "fast").is_dir()


@pytest.mark.parametrize(
    ("number", "failure_class", "words"),
    [
        (errno.ENOSPC, "STORAGE_FULL", r"no space left for the folder of compiled extensions \(.*async_io\.lock\)"),
        (errno.EDQUOT, "STORAGE_FULL", r"no space left for .* free space, or keep nothing on nvme"),
        (errno.EACCES, "CONFIG", r"async_io\.lock\) cannot be used .* set TORCH_EXTENSIONS_DIR of the worker"),
    ],
)
def test_a_lock_that_cannot_be_taken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, failure_class: str, words: str
) -> None:
    """It is a file in the folder of what torch compiles, on another disk than `nvme_path` most of the time."""

    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setattr(nvme, "AsyncIOBuilder", Builder(True))
    monkeypatch.setattr(nvme, "FileLock", refuse)
    with pytest.raises(StageError, match=words) as caught:
        make_strategy(World(), offloaded(tmp_path / "fast"))
    assert caught.value.failure_class == FailureClass.Value(f"FAILURE_CLASS_{failure_class}")


@pytest.mark.soak  # compiling takes minutes
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    shutil.which("c++") is None or not AsyncIOBuilder().is_compatible(),
    reason="needs a C++ compiler and libaio-dev, of which DeepSpeed compiles async_io",
)
def test_with_its_state_on_disk_a_run_goes_on_bit_equal(tmp_path: Path, launch: Launch) -> None:
    assert launch(2, "tests.unit.workers.training.distributed.ranks:keep_state_on_disk", tmp_path, 1100) == [0, 0]
    assert int((tmp_path / "0.size").read_text()) > 1 << 20
    for rank in range(2):
        runs = read(tmp_path / f"{rank}.json")
        assert len(runs["whole"].rows) == NUM_STEPS
        assert 0 < runs["stopped"].checkpoints[0]["step"] < NUM_STEPS if rank == 0 else not runs["stopped"].checkpoints
        assert runs["resumed"].weights == runs["whole"].weights
        assert runs["resumed"].rows == runs["whole"].rows
        assert runs["whole"].rows[-1]["loss"] < runs["whole"].rows[0]["loss"]
