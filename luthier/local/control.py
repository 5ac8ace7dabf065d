"""What the commands do to a stack: bring it up detached, take it down, look at it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from luthier.local.child import ChildError, tail
from luthier.local.home import Home
from luthier.local.leftovers import end_leftovers
from luthier.local.state import ChildState, StackRecord, StackState, read_state, write_state

_POLL_SECONDS = 0.05
_LAUNCHER_SECONDS = 30.0
# Workers may drain for 45 s, PostgreSQL may take 30 s, the others 15 s each.
_STOP_SECONDS = 180.0
_LASTING = (ChildState.FAILED, ChildState.UNAVAILABLE)


def up_detached(home: Home, watcher: Callable[[StackRecord], None]) -> StackRecord:
    """Starts a launcher that outlives this process, and returns once everything answers.

    A launcher that runs already, or that is starting, is waited for instead.

    Raises:
        ChildError: a child did not come up; the message says why. Nothing is left running.
    """
    home.create()
    record = read_state(home)
    asked_at = time.time()
    if record.is_alive():
        return _wait_until_up(home, watcher, None, asked_at)
    with home.log("launcher").open("ab") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-P", "-m", "luthier.local"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.logs,
            start_new_session=True,
        )
    return _wait_until_up(home, watcher, launcher, asked_at)


def down(home: Home) -> list[str]:
    """Stops the stack and waits until nothing of it is left; returns the names of what ran. Idempotent.

    Raises:
        ChildError: it did not stop within three minutes.
    """
    record = read_state(home)
    names = [row.name for row in record.processes if row.process is not None]
    launcher = record.launcher.process() if record.launcher else None
    if launcher is None:
        names = end_leftovers(record)
        _write_stopped(home, record)
        return names
    with suppress(psutil.NoSuchProcess):
        launcher.send_signal(signal.SIGTERM)
        try:
            launcher.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired as error:
            raise ChildError(f"the launcher (pid {launcher.pid}) did not stop; see {home.log('launcher')}") from error
    record = read_state(home)
    if record.launcher is not None:
        # It was killed on the way.
        end_leftovers(record)
        _write_stopped(home, record)
    return names


def status(home: Home) -> dict[str, Any]:
    """`{"endpoints": {...}, "processes": [{"name", "pid", "state", "restarts"}], ...}`, JSON values only."""
    record = read_state(home)
    alive = record.is_alive()
    processes: list[dict[str, Any]] = []
    for row in record.processes:
        running = row.process is not None and row.process.process() is not None
        state = row.state
        if not running and alive and state is ChildState.RUNNING:
            state = ChildState.RESTARTING  # The launcher is about to notice.
        if not alive and state not in _LASTING:
            state = ChildState.STOPPED
        pid = row.process.pid if row.process is not None and running else None
        processes.append(
            {"name": row.name, "pid": pid, "state": str(state), "restarts": row.restarts, "reason": row.reason}
        )
    stopped = StackState.FAILED if record.state is StackState.FAILED else StackState.STOPPED
    return {
        "home": str(home.path),
        "state": str(record.state if alive else stopped),
        "error": record.error,
        "launcher_pid": record.launcher.pid if alive and record.launcher else None,
        "endpoints": endpoints(home) if alive else {},
        "processes": processes,
    }


def endpoints(home: Home) -> dict[str, str]:
    """What clients are told; empty when the stack is not up."""
    try:
        document: dict[str, str] = json.loads(home.endpoints_file.read_text())
    except FileNotFoundError:
        return {}
    return document


def _wait_until_up(
    home: Home, watcher: Callable[[StackRecord], None], launcher: "subprocess.Popen[bytes] | None", asked_at: float
) -> StackRecord:
    """Follows `state.json`. Every step of the launcher has a time limit of its own, so this needs none."""
    deadline = time.monotonic() + _LAUNCHER_SECONDS
    while True:
        ended = launcher is not None and launcher.poll() is not None
        record = read_state(home)
        if record.is_alive():
            watcher(record)
            if record.state is StackState.RUNNING:
                return record
        elif ended or launcher is None or time.monotonic() > deadline:
            log = home.log("launcher")
            said = record.error if home.state_file.exists() and home.state_file.stat().st_mtime >= asked_at else ""
            raise ChildError(said or f"the launcher did not come up. The end of {log}:\n{tail(log)}")
        time.sleep(_POLL_SECONDS)


def _write_stopped(home: Home, record: StackRecord) -> None:
    home.endpoints_file.unlink(missing_ok=True)
    record.state = StackState.STOPPED
    record.launcher = None
    for row in record.processes:
        row.process = None
        row.state = ChildState.STOPPED
    if home.path.exists():
        write_state(home, record)
