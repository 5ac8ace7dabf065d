"""Offload to nvme on a worker that lacks something for it: refused before anything is loaded, with what to install."""

from pathlib import Path

import pytest

from luthier.spec.distributed import ZeroSpec
from workers.failures import ConfigError
from workers.training.distributed.strategies import make_strategy, nvme
from workers.training.distributed.world import World


class Builder:
    """DeepSpeed's, of a worker with or without libaio, on which compiling goes well or not."""

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
