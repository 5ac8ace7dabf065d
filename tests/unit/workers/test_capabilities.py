import sys
from importlib.metadata import version

import pytest

from luthier.settings import WorkerSettings
from workers import capabilities
from workers.capabilities import Accelerators, find_accelerators, probe

KINDS = ("preprocess", "train")


@pytest.fixture
def smi(tmp_path):
    """A function that makes a program which behaves as the given Python code."""

    def make(code: str) -> tuple[str, ...]:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!{sys.executable}\n{code}\n")
        program.chmod(0o755)
        return (str(program), "--query-gpu=name")

    return make


def test_accelerators_are_what_nvidia_smi_lists(smi):
    command = smi("print('NVIDIA H100 80GB HBM3\\nNVIDIA H100 80GB HBM3')")
    assert find_accelerators(command) == Accelerators("NVIDIA H100 80GB HBM3", 2)


@pytest.mark.parametrize("code", ["raise SystemExit(9)", "pass"])
def test_a_machine_whose_driver_does_not_work_has_no_accelerator(smi, code):
    assert find_accelerators(smi(code)) == Accelerators()


def test_a_machine_without_a_driver_has_no_accelerator():
    assert find_accelerators(("no-such-program",)) == Accelerators()


def test_a_driver_that_does_not_answer_is_not_waited_for(smi, monkeypatch):
    monkeypatch.setattr(capabilities, "_QUERY_SECONDS", 0.2)
    assert find_accelerators(smi("import time; time.sleep(60)")) == Accelerators()


@pytest.mark.parametrize(
    ("accelerators", "settings", "classes"),
    [
        (Accelerators(), {}, ["cpu"]),
        (Accelerators("H100", 1), {}, ["cpu", "gpu"]),
        (Accelerators("H100", 1), {"worker_classes": "gpu"}, ["gpu"]),
    ],
)
def test_the_classes_follow_the_machine_unless_set(monkeypatch, accelerators, settings, classes):
    monkeypatch.setattr(capabilities, "find_accelerators", lambda: accelerators)
    found = probe(WorkerSettings(**settings), KINDS)
    assert list(found.worker_classes) == classes
    assert (found.accelerator, found.num_accelerators) == (accelerators.name, accelerators.number)


def test_a_worker_runs_every_kind_it_knows_unless_told(monkeypatch):
    found = probe(WorkerSettings(), KINDS)
    assert list(found.kinds) == ["preprocess", "train"]
    assert list(probe(WorkerSettings(worker_kinds="train"), KINDS).kinds) == ["train"]
    assert found.version == version("luthier")
    assert found.num_cpus >= 1
    assert found.memory_bytes > 1 << 28


@pytest.mark.parametrize("settings", [{"worker_kinds": "train,fly"}, {"worker_classes": "a b"}])
def test_settings_that_name_what_cannot_be_are_refused(settings):
    with pytest.raises(ValueError, match=r"fly|a b"):
        probe(WorkerSettings(**settings), KINDS)


def test_the_limit_of_the_container_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    limit.write_text("1048576\n")
    monkeypatch.setattr(capabilities, "_CGROUP_LIMIT", limit)
    assert probe(WorkerSettings(), KINDS).memory_bytes == 1 << 20
