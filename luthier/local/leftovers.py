"""Ends what a launcher that was killed left behind.

On Linux the kernel has done most of it (see child_exec.py); elsewhere, and for processes that children started, this
does. PostgreSQL is asked, never killed: it has a clean way out and a lock file of its own (see postgres.py).
"""

import os
import signal
from contextlib import suppress

import psutil

from luthier.local import postgres
from luthier.local.state import ProcessRecord, StackRecord

_PATIENCE_SECONDS = 20.0


def end_leftovers(record: StackRecord) -> list[str]:
    """Ends every process of `record` that still lives; returns their names. Call it only when its launcher is dead."""
    found = [(row, process) for row in reversed(record.processes) if (process := _alive(row)) is not None]
    for row, process in found:
        gentle = row.name == postgres.NAME
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if gentle:
                process.send_signal(signal.SIGINT)
            else:
                os.killpg(process.pid, signal.SIGKILL)
    psutil.wait_procs([process for _, process in found], timeout=_PATIENCE_SECONDS)
    return [row.name for row, _ in found]


def _alive(row: ProcessRecord) -> psutil.Process | None:
    return row.process.process() if row.process is not None else None
