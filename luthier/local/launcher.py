"""The launcher: one process that starts the stack, keeps it up, and takes it down again.

    lock the home -> end what an earlier launcher left -> ports -> start each child and wait until it answers
    -> register the API key -> publish endpoints.json -> supervise until SIGTERM, SIGINT or SIGHUP -> stop in reverse

It is the only writer of `state.json`. Runs in the foreground of `luthier up`, or detached as
`python -m luthier.local`.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable

from luthier.local.access import ensure_api_key
from luthier.local.child import Child
from luthier.local.home import Home, write_json
from luthier.local.leftovers import end_leftovers
from luthier.local.ports import choose_ports
from luthier.local.stack import PORTS, build_stack
from luthier.local.state import ChildState, ProcessId, ProcessRecord, StackRecord, StackState, read_state, write_state
from luthier.settings import LocalSettings

_log = logging.getLogger(__name__)

Watcher = Callable[[StackRecord], None]


class Launcher:
    """One run of the stack in `home`."""

    def __init__(self, home: Home, settings: LocalSettings, watcher: Watcher) -> None:
        """`watcher` sees every change of the state."""
        self._home = home
        self._settings = settings
        self._watcher = watcher
        self._children: list[Child] = []
        self._unavailable: list[ProcessRecord] = []
        self._record = StackRecord()

    async def run(self) -> None:
        """Runs until a signal says stop.

        Raises:
            HomeInUseError: another launcher works in this home.
            ChildError: a child did not come up; everything else was stopped again.
            LuthierError: the coordinator did not take the API key; the same.
        """
        self._home.create()
        with self._home.locked():
            previous = read_state(self._home)
            await asyncio.to_thread(end_leftovers, previous)
            self._record = StackRecord(
                state=StackState.STARTING,
                launcher=ProcessId.of(os.getpid()),
                ports=choose_ports(PORTS, previous.ports),
            )
            self._changed()
            work = asyncio.create_task(self._work())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, work.cancel)
            try:
                await asyncio.wait([work])
                if not work.cancelled() and (error := work.exception()) is not None:
                    self._record.error = str(error)
                    raise error
            finally:
                await self._stop()

    async def _work(self) -> None:
        """Starts everything, then supervises it; ends by being cancelled, or by an error."""
        stack = await build_stack(self._home, self._settings, self._record.ports, self._tell)
        self._children = [Child(spec, self._changed) for spec in stack.children]
        if stack.triton_unavailable_reason:
            reason = stack.triton_unavailable_reason
            self._tell(f"no Triton, so models cannot be deployed: {reason}")
            self._unavailable = [ProcessRecord("triton", ChildState.UNAVAILABLE, reason=reason)]
        for child in self._children:
            await child.start()
        await ensure_api_key(self._home, stack.wiring.coordinator)
        write_json(self._home.endpoints_file, stack.endpoints)
        self._record.state = StackState.RUNNING
        self._changed()
        async with asyncio.TaskGroup() as supervision:
            for child in self._children:
                supervision.create_task(child.supervise())

    async def _stop(self) -> None:
        failed = bool(self._record.error)
        self._home.endpoints_file.unlink(missing_ok=True)
        self._record.state = StackState.STOPPING
        self._changed()
        for child in reversed(self._children):
            await child.stop()
        self._record.state = StackState.FAILED if failed else StackState.STOPPED
        self._record.launcher = None
        self._changed()

    def _tell(self, text: str) -> None:
        _log.info("%s", text)
        self._record.messages.append(text)
        self._changed()

    def _changed(self) -> None:
        self._record.processes = [*(child.record for child in self._children), *self._unavailable]
        write_state(self._home, self._record)
        self._watcher(self._record)
