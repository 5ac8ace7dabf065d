"""state.json: round trip, and processes that are not mistaken for others."""

import os
import subprocess
import sys
from pathlib import Path

from luthier.local import control
from luthier.local.home import Home, write_json
from luthier.local.state import (
    ChildState,
    ProcessId,
    ProcessRecord,
    StackRecord,
    StackState,
    read_state,
    write_state,
)


def here() -> ProcessId:
    found = ProcessId.of(os.getpid())
    assert found is not None
    return found


def test_state_survives_a_round_trip(tmp_path: Path) -> None:
    record = StackRecord(
        state=StackState.RUNNING,
        launcher=here(),
        ports={"nats": 4222},
        processes=[ProcessRecord("nats", ChildState.RUNNING, here(), restarts=2, reason="exited with status 1")],
    )
    write_state(Home(tmp_path), record)
    assert read_state(Home(tmp_path)) == record


def test_a_home_without_state_is_stopped(tmp_path: Path) -> None:
    assert read_state(Home(tmp_path)) == StackRecord(state=StackState.STOPPED)


def test_a_recycled_pid_is_somebody_else() -> None:
    assert here().process() is not None
    assert ProcessId(os.getpid(), here().started - 60).process() is None


def test_a_zombie_does_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = ProcessId.of(child.pid)
    assert started is not None
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert started.process() is None
    finally:
        child.communicate()


def test_status_of_a_dead_launcher_claims_nothing(tmp_path: Path) -> None:
    gone = ProcessId(here().pid, here().started - 60)
    record = StackRecord(
        state=StackState.RUNNING,
        launcher=gone,
        processes=[
            ProcessRecord("nats", ChildState.RUNNING, gone, restarts=1),
            ProcessRecord("triton", ChildState.UNAVAILABLE, reason="no wheel"),
        ],
    )
    write_state(Home(tmp_path), record)
    write_json(Home(tmp_path).endpoints_file, {"grpc": "127.0.0.1:1"})
    document = control.status(Home(tmp_path))
    assert document["state"] == "stopped"
    assert document["endpoints"] == {}
    assert document["processes"] == [
        {"name": "nats", "pid": None, "state": "stopped", "restarts": 1, "reason": ""},
        {"name": "triton", "pid": None, "state": "unavailable", "restarts": 0, "reason": "no wheel"},
    ]


def test_down_forgets_a_dead_launcher(tmp_path: Path) -> None:
    gone = ProcessId(here().pid, here().started - 60)
    write_state(Home(tmp_path), StackRecord(state=StackState.RUNNING, launcher=gone))
    assert control.down(Home(tmp_path)) == []
    assert control.down(Home(tmp_path)) == []
    assert read_state(Home(tmp_path)) == StackRecord(state=StackState.STOPPED)
