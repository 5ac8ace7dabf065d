"""Processes that outlived a launcher which had no kernel to help it."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from luthier.local.leftovers import end_leftovers
from luthier.local.state import ChildState, ProcessId, ProcessRecord, StackRecord

Sleeper = subprocess.Popen[bytes]


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


def record_of(process: Sleeper, seconds_older: float = 0.0) -> StackRecord:
    found = psutil.Process(process.pid)
    identity = ProcessId(process.pid, found.create_time() - seconds_older)
    return StackRecord(processes=[ProcessRecord("thing", ChildState.RUNNING, identity), ProcessRecord("never-started")])


def test_what_still_lives_is_ended_and_named(sleeper: Sleeper) -> None:
    assert end_leftovers(record_of(sleeper)) == ["thing"]
    assert not psutil.pid_exists(sleeper.pid)


def test_somebody_elses_process_with_the_same_pid_is_let_alone(sleeper: Sleeper) -> None:
    assert end_leftovers(record_of(sleeper, seconds_older=60)) == []
    assert sleeper.poll() is None
