"""A cached folder is complete or absent, also with several processes and crashes."""

import multiprocessing
from pathlib import Path

import pytest

from tests.bit_flip import files_of, flip
from workers.models.cache import cached


def _fill(staging: Path) -> None:
    (staging / "weights").write_text("complete")


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def fail(staging: Path) -> None:
        (staging / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        cached(tmp_path / "models/a", fail)
    assert [path for path in (tmp_path / "models").iterdir() if path.is_dir()] == []
    assert (cached(tmp_path / "models/a", _fill) / "weights").read_text() == "complete"


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    leftover = tmp_path / ".a.0123abcd.tmp"
    leftover.mkdir()
    cached(tmp_path / "a", _fill)
    assert not leftover.exists()


def test_one_flipped_bit_in_any_file_and_the_model_is_built_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def build(staging: Path) -> None:
        (staging / "tokenizer").mkdir()
        (staging / "tokenizer" / "vocabulary").write_text("a b c")
        _fill(staging)

    folder = cached(tmp_path / "models/a", build)
    for path in files_of(folder):
        before = path.read_bytes()
        flip(path)
        assert cached(folder, build) == folder
        assert path.read_bytes() == before
        assert str(path) in caplog.text
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["a"]


def test_a_damaged_model_that_cannot_be_built_is_no_model(tmp_path: Path) -> None:
    def fail(staging: Path) -> None:
        raise OSError(28, "No space left on device")

    folder = cached(tmp_path / "models/a", _fill)
    flip(folder / "weights")
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            cached(folder, fail)


def _build_slowly_and_count(folder: Path, log: Path, barrier: "multiprocessing.synchronize.Barrier") -> None:
    def build(staging: Path) -> None:
        with log.open("a") as stream:
            stream.write("built\n")
        _fill(staging)

    barrier.wait(30)
    assert (cached(folder, build) / "weights").read_text() == "complete"


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    log = tmp_path / "log"
    arguments = (tmp_path / "cache/a", log, barrier)
    processes = [context.Process(target=_build_slowly_and_count, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert log.read_text() == "built\n"
