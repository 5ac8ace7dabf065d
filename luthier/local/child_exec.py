"""Becomes another program that cannot outlive the launcher. Run as a script: `python -I child_exec.py ...`.

Arguments: pid of the launcher, number of the signal to get when the launcher dies, user to become (empty: stay),
then the program and its arguments. A script of its own, because `preexec_fn` would run Python between fork and exec,
which is not safe in a process with threads. It imports nothing of ours, so it costs a few milliseconds.
"""

import ctypes
import os
import pwd
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Sets up this process, then turns into the program; returns only by an exception."""
    launcher, signal_number, user, *argv = sys.argv[1:]
    if user:
        _become(user)
    if sys.platform == "linux":
        # After the change of user, which clears it; a plain exec keeps it.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != int(launcher):
        raise SystemExit("the launcher died before its child had started")
    os.execvp(argv[0], argv)  # noqa: S606


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


if __name__ == "__main__":
    main()
