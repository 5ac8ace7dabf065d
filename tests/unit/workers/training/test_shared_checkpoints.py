"""Checkpoints that two ranks write: committed with the parts of both, or not at all. The ranks are threads here."""

import errno
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.artifacts import ArtifactError, read_manifest
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import KEY, Recorder
from workers.failures import StageError
from workers.training import checkpoints, draft
from workers.training.checkpoints import CheckpointStore
from workers.training.environment import Environment
from workers.training.pieces import Piece
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot
from workers.training.state import Progress

WHOLE = torch.arange(6.0).view(3, 2)
SECONDS = 20


class Table:
    """Where threads tell each other something, in the order of their ranks."""

    def __init__(self, size: int) -> None:
        self.said: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=SECONDS)


class ThreadWorld:
    """A `World` of threads."""

    def __init__(self, rank: int, table: Table) -> None:
        self.rank, self.size, self.is_first = rank, len(table.said), rank == 0
        self._table = table

    def gather(self, value: Any) -> list[Any]:
        self._table.said[self.rank] = json.dumps(value)
        self._table.barrier.wait()
        heard = [json.loads(said) for said in self._table.said]
        self._table.barrier.wait()
        return heard

    def first(self, value: Any) -> Any:
        return self.gather(value)[0]

    def any(self, flag: bool) -> bool:
        return any(self.gather(flag))


class Rank:
    """One of two: its report and its store."""

    def __init__(self, folder: Path, rank: int, table: Table, earlier: list[Checkpoint]) -> None:
        self.rank = rank
        self.report = Recorder()
        self.store = CheckpointStore(
            str(folder / "c"),
            7,
            folder / f"scratch-{rank}",
            keep=2,
            key=KEY,
            report=self.report,
            earlier=earlier,
            world=ThreadWorld(rank, table),  # type: ignore[arg-type]
        )

    def save(self, step: int) -> None:
        """Begins to commit its half of `WHOLE`, with `step` added."""
        half = Piece((WHOLE + step).flatten()[3 * self.rank : 3 * self.rank + 3], 3 * self.rank, (3, 2))
        snapshot = Snapshot(
            progress=Progress(step=step),
            weights={"a": half},
            optimizer={"a/exp_avg": half},
            rng={"cpu": torch.get_rng_state()},
            environment=Environment(compute="float32", torch="2.13", device="cpu", num_threads=1, num_ranks=2),
            is_divided=True,
        )
        self.store.save(snapshot, Position(0, step))


def on_two(folder: Path, do: Callable[[Rank], Any], earlier: list[Checkpoint] | None = None) -> list[Any]:
    """What both come to, results or errors."""
    table = Table(2)

    def run(rank: int) -> Any:
        try:
            return do(Rank(folder, rank, table, earlier or []))
        except (OSError, StageError) as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return [future.result(SECONDS) for future in [pool.submit(run, rank) for rank in range(2)]]


def save_and_wait(*steps: int) -> Callable[[Rank], Recorder]:
    def do(rank: Rank) -> Recorder:
        for step in steps:
            rank.save(step)
        rank.store.wait()
        return rank.report

    return do


def told(*steps: int, folder: Path) -> list[Checkpoint]:
    """As the coordinator hands them out."""
    return [Checkpoint(uri=str(folder / "c" / f"{step}.7"), step=step) for step in steps]


def load(rank: Rank) -> torch.Tensor | None:
    found = rank.store.load_newest()
    return None if found is None else found.weights["a"].whole()


def test_a_checkpoint_has_the_parts_of_both_and_the_first_tells_of_it(tmp_path: Path) -> None:
    reports = on_two(tmp_path, save_and_wait(1, 2))
    assert [[checkpoint.step for checkpoint in report.checkpoints] for report in reports] == [[2, 1], []]
    manifest = read_manifest(str(tmp_path / "c" / "2.7"), key=KEY)
    assert {"weights.0.safetensors", "weights.1.safetensors", "optimizer.1.safetensors"} < manifest.files.keys()
    assert manifest.digest == reports[0].checkpoints[0].digest
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["1.7", "2.7"]
    for weight in on_two(tmp_path, load, told(2, folder=tmp_path)):
        assert torch.equal(weight, WHOLE + 2)


def test_between_steps_nobody_waits_for_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is committed at the first look after both have written."""
    gate, describe_file = threading.Event(), draft.describe_file

    def slow(path: Path) -> dict[str, Any]:
        if path.name == "weights.1.safetensors":
            assert gate.wait(SECONDS)
        return describe_file(path)

    monkeypatch.setattr(draft, "describe_file", slow)

    def do(rank: Rank) -> list[int]:
        rank.save(1)
        rank.store.check()
        early = len(rank.report.checkpoints)
        gate.set()
        rank.store.wait()
        return [early, len(rank.report.checkpoints)]

    assert on_two(tmp_path, do) == [[0, 1], [0, 0]]


@pytest.mark.parametrize("full", [0, 1])
def test_if_one_cannot_write_none_commits_and_the_one_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    describe_file = draft.describe_file

    def fail(path: Path) -> dict[str, Any]:
        if path.name == f"optimizer.{full}.safetensors" and path.parent.name.startswith("2."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return describe_file(path)

    monkeypatch.setattr(draft, "describe_file", fail)
    errors = on_two(tmp_path, save_and_wait(1, 2))
    assert isinstance(errors[full], OSError)
    assert errors[full].errno == errno.ENOSPC
    other = errors[1 - full]
    assert isinstance(other, StageError)
    assert other.failure_class == FailureClass.FAILURE_CLASS_LOST_WORKER
    assert f"rank {full} could not write its part" in str(other)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["1.7"]


def test_if_one_rank_finds_it_spoilt_both_take_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_two(tmp_path, save_and_wait(1, 2))
    fetch = checkpoints.fetch

    def fetch_or_fail(uri: str, into: Path, **options: Any) -> Path:
        if uri.endswith("2.7") and into.parent.name == "scratch-1":
            raise ArtifactError("a flipped bit")
        return fetch(uri, into, **options)

    monkeypatch.setattr(checkpoints, "fetch", fetch_or_fail)
    for weight in on_two(tmp_path, load, told(2, 1, folder=tmp_path)):
        assert torch.equal(weight, WHOLE + 1)


def test_a_part_that_the_first_does_not_see_is_no_checkpoint(tmp_path: Path) -> None:
    """Where the ranks of two machines write to folders of the same name."""
    one, other = draft.Draft(str(tmp_path / "one" / "1.7"), tmp_path), draft.Draft(str(tmp_path / "1.7"), tmp_path)

    def write(name: str) -> Callable[[Path], list[str]]:
        return lambda folder: [(folder / name).write_text("x") and name]  # type: ignore[list-item]

    files = one.add(write("a")) | other.add(write("b"))
    with pytest.raises(StageError, match="the ranks do not share this folder; set LUTHIER_ARTIFACTS"):
        one.commit(files, extra={})
    assert not (tmp_path / "one" / "1.7").exists()


def test_on_an_object_store_the_manifest_comes_last(tmp_path: Path) -> None:
    uri = "memory://bucket/c/1.7"

    def write(folder: Path) -> list[str]:
        (folder / "a").write_text("x")
        return ["a"]

    written = draft.Draft(uri, tmp_path)
    files = written.add(write)
    with pytest.raises(ValueError, match="no artifact"):
        read_manifest(uri)
    ref = written.commit(files, extra={"step": 1}, key=KEY)
    assert read_manifest(uri, key=KEY).digest == ref.digest
    written.drop()
    with pytest.raises(ValueError, match="no artifact"):
        read_manifest(uri)
    assert not [*tmp_path.rglob("*")]
