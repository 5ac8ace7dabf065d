"""The order in which a checkpoint reaches the disk, and what a process that dies on the way leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import Recorder, make_engine, make_store

SCRIPT = Path(__file__).with_name("die_while_saving.py")


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What is forced to disk and what is renamed to what, as it happens."""
    done: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(descriptor: int) -> None:
        done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def record_rename(old: str, new: str) -> None:
        done.append(("rename", Path(new)))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    return done


def test_everything_is_on_disk_before_the_name_and_the_name_before_the_report(
    tmp_path: Path, operations: list[tuple[str, Path]]
) -> None:
    report = Recorder()
    told: list[int] = []
    report.checkpoint = lambda ref, step: told.append(len(operations))  # type: ignore[method-assign]
    make_engine(tmp_path, report, max_steps=1)[0].run()
    folder = tmp_path / "checkpoints"
    staged = folder / "1.1.tmp"
    named = operations.index(("rename", folder / "1.1"))
    before = [path for kind, path in operations[:named] if kind == "fsync"]
    files = {path.name for path in (folder / "1.1").iterdir()}
    assert "manifest.json" in files
    assert {staged / name for name in files} <= {*before}
    assert staged in before
    assert tmp_path in before, "the new folder `checkpoints` has its name on disk as well"
    assert ("fsync", folder) in operations[named + 1 : told[0]]


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, object]]]:
    """Processes that were killed while they saved a second checkpoint: one at each file operation, others anywhere."""
    folder = tmp_path_factory.mktemp("deaths")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    result = subprocess.run([sys.executable, SCRIPT, folder], env=environment, capture_output=True, timeout=280)
    assert result.returncode == 0, result.stderr.decode()
    return folder, [json.loads(line) for line in result.stdout.splitlines()]


def test_whenever_it_dies_the_old_or_the_new_one_is_there_whole(
    deaths: tuple[Path, list[dict[str, object]]],
) -> None:
    folder, processes = deaths
    at_operations = [process for process in processes if process["at"] == "operation"]
    assert len(at_operations) >= 20
    assert len(processes) - len(at_operations) >= 40
    found = []
    for process in processes:
        assert process["signal"] == 9
        where = folder / str(process["name"])
        # Newest first, as if both had been reported: the coordinator may know of one that its writer died over.
        candidates = [Checkpoint(uri=str(where / "checkpoints" / f"{step}.1"), step=step) for step in (2, 1)]
        loaded = make_store(where / "later", Recorder(), earlier=candidates, fence=2).load_newest()
        assert loaded is not None
        step = loaded.progress.step
        assert all(stored.whole().eq(float(step)).all() for stored in loaded.weights.values())
        assert step == 2 or not process["told"], "what was reported is there"
        found.append(step)
    assert {*found} == {1, 2}
