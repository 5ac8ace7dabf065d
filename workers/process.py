"""The runner process as the supervisor sees it: started by exec, listened to, asked to stop, killed with all its kin.

A runner leads a session of its own, so one signal reaches everything that it started and nothing else.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from workers.contract import LOG, MAX_LINE_BYTES, Message, decode

_log = logging.getLogger(__name__)

_EXIT_SECONDS = 10.0
"""Time for a runner to leave after it has closed the pipe."""
_DRAIN_SECONDS = 1.0
"""Time to read the rest of the pipe after the runner has left."""


class RunnerProcess:
    """One runner, from its start to its end."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        pipe: asyncio.StreamReader,
        transport: asyncio.ReadTransport,
    ) -> None:
        """Use `start`."""
        self.was_killed = False
        """Whether we killed it, rather than the kernel or a person."""
        self._process = process
        self._pipe = pipe
        self._transport = transport

    @classmethod
    async def start(
        cls, argv: Sequence[str], work_dir: Path, environment: Mapping[str, str], *, keep_open: int
    ) -> "RunnerProcess":
        """Runs `argv`, the arguments of workers/runner.py for `work_dir` added, in our own current folder.

        It inherits the open file `keep_open`, which stands for the use of the work dir. Call it from the main thread:
        the kernel ends the runner together with the thread that started it.

        Raises:
            OSError: it cannot be started.
        """
        receiving, sending = os.pipe()
        try:
            with (work_dir / LOG).open("ab") as log:
                process = await asyncio.create_subprocess_exec(
                    *argv,
                    *("--parent", str(os.getpid()), "--report-fd", str(sending), str(work_dir)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    env=environment,
                    pass_fds=(sending, keep_open),
                    start_new_session=True,
                )
        except OSError:
            os.close(receiving)
            raise
        finally:
            os.close(sending)
        pipe = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(pipe), os.fdopen(receiving, "rb", buffering=0)
        )
        return cls(process, pipe, transport)

    @property
    def pid(self) -> int:
        """Also the id of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As in `subprocess`: negative for a signal, None while it runs."""
        return self._process.returncode

    async def messages(self) -> AsyncIterator[Message]:
        """What the runner says, until it has left."""
        watch = asyncio.create_task(self._end_pipe_after_exit())
        try:
            while line := await self._pipe.readline():
                try:
                    yield decode(line)
                except ValueError as error:
                    _log.warning("runner %d said something unreadable: %s", self.pid, error)
            try:
                async with asyncio.timeout(_EXIT_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self.kill()
                await self._process.wait()
        finally:
            watch.cancel()

    def ask_to_stop(self) -> None:
        """SIGTERM to the runner alone; what it started is its own to stop."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the runner and everything it started."""
        if self._process.returncode is None:
            self.was_killed = True
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Makes sure that nothing is left of it, of its kin either."""
        self.kill()
        await self._process.wait()
        self._transport.close()

    async def _end_pipe_after_exit(self) -> None:
        """Ends the pipe should something that the runner started hold it open after the runner has left."""
        await self._process.wait()
        await asyncio.sleep(_DRAIN_SECONDS)
        self._transport.close()
