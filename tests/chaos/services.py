"""One process of the platform, started again whenever it ends, as an init system would do it."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psutil

from luthier.local import child_exec
from luthier.local.child import ChildSpec, tail

RESTART_SECONDS = 0.2
POLL_SECONDS = 0.05


class Service:
    """Keeps one `ChildSpec` running; remembers every end that no fault explains."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        """What the next start runs."""
        self.num_starts = 0
        self.exits: list[int] = []
        """Every exit status, oldest first."""
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._pause = RESTART_SECONDS
        self._while_down: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """None while it is down."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def own_exits(self) -> list[int]:
        """Statuses of the ends that were not our SIGKILL."""
        return [status for status in self.exits if status != -signal.SIGKILL]

    def start(self) -> None:
        """Runs it from now on."""
        self._keeper = asyncio.create_task(self._keep(), name=self.name)

    async def stop(self) -> None:
        """Kills it and what it has started, for good.

        Raises:
            OSError: it could not be started, some time before.
        """
        if self._keeper is None:
            return
        self._keeper.cancel()
        for process in self.kin():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.signal(signal.SIGKILL)
        with suppress(asyncio.CancelledError):
            await self._keeper
        if self._process is not None:
            await self._process.wait()

    def end(
        self,
        number: signal.Signals = signal.SIGKILL,
        *,
        pause: float = RESTART_SECONDS,
        while_down: Callable[[], None] | None = None,
    ) -> bool:
        """Sends a signal that ends it. It comes back after `pause` seconds. False: it is down already."""
        self._pause, self._while_down = max(pause, RESTART_SECONDS), while_down
        return self.signal(number)

    def signal(self, number: signal.Signals) -> bool:
        """Sends a signal to the process alone. False: it is down."""
        if self.pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return True

    def kin(self) -> list[psutil.Process]:
        """What it has started, and what that has started."""
        try:
            return psutil.Process(self.pid).children(recursive=True) if self.pid is not None else []
        except psutil.NoSuchProcess:
            return []

    async def answers(self, seconds: float = 60.0) -> None:
        """Returns once it does its work.

        Raises:
            TimeoutError: with the end of its log.
        """
        try:
            await until(self.spec.answers, seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{self.name} does not answer:\n{tail(self.spec.log)}") from error

    async def _keep(self) -> None:
        while True:
            if self.spec.prepare is not None:
                await self.spec.prepare()
            self._process = await self._spawn()
            self.num_starts += 1
            self.exits.append(await self._process.wait())
            if self._while_down is not None:
                self._while_down()
            await asyncio.sleep(self._pause)
            self._pause, self._while_down = RESTART_SECONDS, None

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self.spec.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", child_exec.__file__),
                *(str(os.getpid()), str(int(self.spec.death_signal)), self.spec.user),
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.environment),
                cwd=self.spec.log.parent,
                start_new_session=True,
            )


async def until(condition: Callable[[], Awaitable[object]], seconds: float | None) -> None:
    """Returns once `condition` holds.

    Raises:
        TimeoutError: it did not within `seconds`; None: then it may take for ever.
    """
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(POLL_SECONDS)
