"""A process that must not outlive the one that started it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when process `parent`, which started it, ends (prctl(2), PR_SET_PDEATHSIG).

    Call it from the main thread, before any work. On systems other than Linux it only checks that the parent lives.

    Raises:
        SystemExit: the parent is dead already.
        OSError: the kernel refused.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    # The parent may have died between fork and prctl: then the kernel sends nothing any more.
    if os.getppid() != parent:
        raise SystemExit(f"process {parent}, which started this one, is gone")
