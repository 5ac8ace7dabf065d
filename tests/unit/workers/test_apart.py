"""A call in another process is like a call in this one, but for what it leaves behind."""

import os
import signal
import subprocess
import sys

import pytest

from workers.apart import call_apart
from workers.failures import ConfigError


def _double(number):
    return 2 * number, os.getpid()


def _refuse(what):
    raise ConfigError(f"{what} is refused")


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def _no_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.usefixtures("_no_torch")
def test_the_result_comes_from_another_process():
    result, pid = call_apart(_double, 21)
    assert result == 42
    assert pid != os.getpid()


def test_a_process_with_torch_calls_by_itself(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert call_apart(_double, 21) == (42, os.getpid())


@pytest.mark.usefixtures("_no_torch")
def test_a_failure_keeps_its_class_and_its_words():
    with pytest.raises(ConfigError, match=r"^base_model is refused$"):
        call_apart(_refuse, "base_model")


@pytest.mark.usefixtures("_no_torch")
def test_a_killed_process_is_a_lack_of_memory():
    with pytest.raises(MemoryError, match="_die was killed"):
        call_apart(_die)


@pytest.mark.parametrize("module", ["workers.data.stage", "workers.data.report.local"])
def test_what_preprocesses_is_without_torch(module):
    code = f"import sys, {module}; print([name for name in ('torch', 'sklearn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
