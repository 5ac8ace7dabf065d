"""Ends what a runner has started, when the runner ends: however it ends, and although nobody else may be left.

The kernel ends a runner together with its supervisor (parent.py), but not the runner's own children, and a supervisor
that is dead can kill nothing. So a runner first starts this program, by its path and with the standard library alone:
it lives in the runner's process group, waits for the runner's end and kills the group, itself included.
"""

import os
import select
import signal
import sys
from contextlib import suppress


def start_guard() -> None:
    """Has the children of this process, the leader of its process group, killed as soon as it ends. Linux only.

    Raises:
        OSError: the guard cannot be started.
    """
    if sys.platform == "linux":
        os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", __file__, str(os.getpid())], {})


def guard(leader: int) -> None:
    """Returns never: kills the process group of `leader`, which is our own, once `leader` has ended."""
    if os.getpgrp() != leader:
        raise SystemExit(f"process {leader} does not lead our process group")
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(leader)
        # Without the look at our parent, another process that got the number could be taken for the leader.
        if os.getppid() == leader:
            select.select([descriptor], [], [])
    os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    guard(int(sys.argv[1]))
