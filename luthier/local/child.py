"""One child process of the launcher: started, waited for, started again when it dies or falls silent, stopped.

A child that hangs looks like a slow one, so it is killed only after it has said nothing many times in a row. To say
that it cannot work now, because something that it needs is away, is to say something.

Every child leads a session of its own, so Ctrl-C in the launcher's terminal reaches the launcher alone and children
stop in order; and every child gets a signal from the kernel when the launcher dies (see child_exec.py).
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from luthier.errors import LuthierError
from luthier.local import child_exec
from luthier.local.state import ChildState, ProcessId, ProcessRecord

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_FIRST_BACKOFF_SECONDS = 0.5
_LAST_BACKOFF_SECONDS = 30.0
_STEADY_SECONDS = 60.0
_TAIL_LINES = 15
_MAX_LOG_BYTES = 32 << 20


class ChildError(LuthierError):
    """A child did not come up. The message ends with the last lines of its log."""


@dataclass(frozen=True)
class ChildSpec:
    """How one child is run. `environment` is all that it gets."""

    name: str
    argv: tuple[str, ...]
    log: Path
    answers: Callable[[], Awaitable[bool]]
    """Whether it does its work now."""
    environment: Mapping[str, str] = field(repr=False)
    prepare: Callable[[], Awaitable[None]] | None = None
    """Done before every start."""
    responds: Callable[[], Awaitable[bool]] | None = None
    """Whether it says anything, however unable it is to work now; None: nobody asks, as only its death counts."""
    ask_every_seconds: float = 5.0
    """Pause between two such questions."""
    num_silent: int = 6
    """It is killed and started again after so many questions in a row without an answer."""
    user: str = ""
    """System user to run as; empty: the launcher's."""
    start_seconds: float = 60.0
    """Time to answer after a start."""
    stop_seconds: float = 15.0
    """Time to leave after `stop_signal`, then it is killed."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What it gets when the launcher dies."""


class Child:
    """Keeps one `ChildSpec` running and its `record` true; calls `changed` whenever that changes."""

    def __init__(self, spec: ChildSpec, changed: Callable[[], None]) -> None:
        self.spec = spec
        self.record = ProcessRecord(spec.name)
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0

    async def start(self) -> None:
        """Starts the process and returns once it answers.

        Raises:
            ChildError: it exited, or did not answer in time.
        """
        self._set(ChildState.STARTING)
        if self.spec.prepare is not None:
            await self.spec.prepare()
        self._process = await self._spawn()
        self.record.process = ProcessId.of(self._process.pid)
        self._changed()
        try:
            async with asyncio.timeout(self.spec.start_seconds):
                while not await self.spec.answers():
                    if self._process.returncode is not None:
                        raise self._failed(f"exited with status {self._process.returncode}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise self._failed(f"did not answer within {self.spec.start_seconds:g} s") from error
        self._set(ChildState.RUNNING)

    async def supervise(self) -> None:
        """Starts the process again whenever it dies or hangs, with growing pauses. Never returns."""
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            assert self._process is not None
            since = time.monotonic()
            why = await self._end_of(self._process)
            self._kill_group()
            await self._process.wait()
            if time.monotonic() - since > _STEADY_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            _log.warning("%s %s; starting it again in %.1f s", self.spec.name, why, backoff)
            self.record.restarts += 1
            self._set(ChildState.RESTARTING, why)
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _LAST_BACKOFF_SECONDS)
            try:
                await self.start()
            except ChildError as error:
                _log.warning("%s", error)
                self._kill_group()

    async def stop(self) -> None:
        """Asks the process to leave and waits; kills it, and whatever it left behind, when it does not."""
        process = self._process
        if process is None:
            return
        failed = self.record.state is ChildState.FAILED
        if not failed:
            self._set(ChildState.STOPPING)
        with suppress(ProcessLookupError):
            process.send_signal(self.spec.stop_signal)
        try:
            async with asyncio.timeout(self.spec.stop_seconds):
                await process.wait()
        except TimeoutError:
            _log.warning("%s did not stop within %g s; killing it", self.spec.name, self.spec.stop_seconds)
        self._kill_group()
        await process.wait()
        self._process = None
        self.record.process = None
        # How a child failed stays to be seen.
        self._set(ChildState.FAILED if failed else ChildState.STOPPED, self.record.reason)

    async def _end_of(self, process: asyncio.subprocess.Process) -> str:
        """Returns once the process has died, or has to die; says why."""
        silence = asyncio.create_task(self._silence())
        try:
            death = asyncio.create_task(process.wait())
            await asyncio.wait([death, silence], return_when=asyncio.FIRST_COMPLETED)
            death.cancel()
            if process.returncode is not None:
                return f"exited with status {process.returncode}"
            silence.result()  # raises when asking itself is broken
            return f"did not respond {self.spec.num_silent} times in a row"
        finally:
            silence.cancel()

    async def _silence(self) -> None:
        """Returns once the process has not responded `num_silent` times in a row."""
        num_silent = 0
        while num_silent < self.spec.num_silent:
            await asyncio.sleep(self.spec.ask_every_seconds)
            if self.spec.responds is None or await self.spec.responds():
                num_silent = 0
            else:
                num_silent += 1

    async def _spawn(self) -> asyncio.subprocess.Process:
        launcher = [sys.executable, "-I", child_exec.__file__]
        terms = [str(os.getpid()), str(int(self.spec.death_signal)), self.spec.user]
        with _open_log(self.spec.log) as log:
            self._log_start = log.tell()
            return await asyncio.create_subprocess_exec(
                *launcher,
                *terms,
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.environment),
                # Python and Triton's backend import from the working directory; there is nothing to import among logs.
                cwd=self.spec.log.parent,
                start_new_session=True,
            )

    def _kill_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _failed(self, what: str) -> ChildError:
        self._set(ChildState.FAILED, what)
        return ChildError(
            f"{self.spec.name} {what}. The end of {self.spec.log}:\n{tail(self.spec.log, self._log_start)}"
        )

    def _set(self, state: ChildState, reason: str = "") -> None:
        self.record.state = state
        self.record.reason = reason
        self._changed()


def tail(log: Path, start: int = 0, num_lines: int = _TAIL_LINES) -> str:
    """The last lines of what a log file has from byte `start` on, indented."""
    try:
        text = log.read_bytes()[start:][-16384:].decode(errors="replace")
    except FileNotFoundError:
        text = ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-num_lines:]) or "  (empty)"


def _open_log(path: Path) -> BinaryIO:
    if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
