import subprocess
import sys

import pytest

from workers.guard import guard


def test_a_process_outside_the_group_guards_nothing():
    with pytest.raises(SystemExit, match="does not lead our process group"):
        guard(1)


@pytest.mark.parametrize("leader_ends", ["exit", "kill"])
def test_the_group_ends_with_its_leader(leader_ends):
    """The leader's last act is to leave a child behind that holds the pipe: reading to its end waits for the child."""
    script = f"""
import os, signal, subprocess, sys
from workers.guard import start_guard
start_guard()
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
{"os._exit(3)" if leader_ends == "exit" else "os.kill(os.getpid(), signal.SIGKILL)"}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True, timeout=60, check=False
    )
    assert done.stdout
    assert done.returncode == (3 if leader_ends == "exit" else -9)
