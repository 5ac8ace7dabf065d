"""Leases of running attempts: renewed by heartbeats, ended by the coordinator's verdict or by our own clock.

Whoever does the work of an attempt watches its `Lease`: once that has ended the runner must die and nothing may be
reported. The lease itself lives in PostgreSQL, by the database's clock. What is kept here only ever ends earlier:
patience runs from the moment a request was *sent*, on the monotonic clock, which goes on while this process is stopped.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum

from luthier.errors import NotFoundError
from luthier.v1.stage_pb2 import Progress
from luthier.v1.worker_service_pb2 import GangPlace, HeartbeatRequest, StageHeartbeat, StageVerdict
from workers.coordinator_link import NO_ANSWER, Coordinator

_log = logging.getLogger(__name__)

_PATIENCE = 0.75
"""Part of the lease that an attempt goes on for without an OK."""
_SHORTEST_GAP_SECONDS = 0.25
"""Between two heartbeats, however many hints come."""


class LeaseEnd(Enum):
    """Why an attempt lost its right to go on."""

    CANCELLED = "the job was cancelled"
    LOST = "somebody else owns the stage now"
    EXPIRED = "the coordinator has not answered for too long"


_VERDICTS = {
    StageVerdict.VERDICT_CANCEL: LeaseEnd.CANCELLED,
    StageVerdict.VERDICT_LOST_LEASE: LeaseEnd.LOST,
}
_RENEWALS = (StageVerdict.VERDICT_OK, StageVerdict.VERDICT_PAUSE)


class Lease:
    """The right of this worker to run one attempt."""

    def __init__(self, stage_id: str, fence: int, patience: float, taken_at: float) -> None:
        """Ends by itself `patience` seconds after `taken_at` (event loop time) unless it is renewed."""
        self.stage_id = stage_id
        self.fence = fence
        self.progress = Progress()
        self.address = ""
        """Where this worker, as the leader of a gang, waits for the others."""
        self.place = GangPlace()
        """Of this worker in its gang, once that has formed."""
        self.has_place = asyncio.Event()
        self.ended: LeaseEnd | None = None
        self.pause_asked = asyncio.Event()
        """The job was paused: the runner has to stop at a checkpoint. The lease goes on."""
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._has_ended = asyncio.Event()
        self._timer = self._expire_at(taken_at + patience)

    def renew(self, asked_at: float) -> None:
        """An OK came for a request that was sent at `asked_at`, in event loop time."""
        self._timer.cancel()
        self._timer = self._expire_at(asked_at + self._patience)

    def take_place(self, place: GangPlace) -> None:
        """The gang has formed, and this is our place in it."""
        self.place = place
        self.has_place.set()

    def end(self, why: LeaseEnd) -> None:
        """Takes the right away, for good; the first reason counts."""
        self._timer.cancel()
        if self.ended is None:
            self.ended = why
            self._has_ended.set()
            _log.warning("stage %s, fence %d: the attempt ends here: %s", self.stage_id, self.fence, why.value)

    def release(self) -> None:
        """The attempt is over and needs no lease any more."""
        self._timer.cancel()

    async def wait_ended(self) -> None:
        """Returns once the lease has ended."""
        await self._has_ended.wait()

    def _expire_at(self, when: float) -> asyncio.TimerHandle:
        return self._loop.call_at(when, self.end, LeaseEnd.EXPIRED)


class Heartbeats:
    """One heartbeat per interval for the worker and every lease it holds, for as long as the process lives."""

    def __init__(
        self,
        coordinator: Coordinator,
        worker_id: str,
        instance_id: str = "",
        *,
        lease: float,
        interval: float,
        on_forgotten: Callable[[], Awaitable[object]],
    ) -> None:
        """`lease` and `interval` in seconds; `on_forgotten` introduces the worker to a coordinator that lost it.

        `instance_id` tells this process from another one that has the same worker id.
        """
        self._coordinator = coordinator
        self._worker_id = worker_id
        self._instance_id = instance_id
        self._patience = _PATIENCE * lease
        self._interval = interval
        self._on_forgotten = on_forgotten
        self._is_draining = False
        self._held: dict[str, Lease] = {}
        self._wake = asyncio.Event()

    @contextmanager
    def hold(self, stage_id: str, fence: int, taken_at: float) -> Iterator[Lease]:
        """A lease that is renewed inside the block; `taken_at` is when the claim was sent, in event loop time."""
        lease = Lease(stage_id, fence, self._patience, taken_at)
        self._held[stage_id] = lease
        self._wake.set()
        try:
            yield lease
        finally:
            lease.release()
            del self._held[stage_id]

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            self._wake.clear()
            started = asyncio.get_running_loop().time()
            await self.beat()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(started + self._interval):
                    await self._wake.wait()
            gap = min(_SHORTEST_GAP_SECONDS, self._interval)
            await asyncio.sleep(started + gap - asyncio.get_running_loop().time())

    def hurry(self) -> None:
        """Something may have happened to a stage at hand: asks for the verdict now rather than at the next turn."""
        self._wake.set()

    def drain(self) -> None:
        """Tells the coordinator, now and with every heartbeat from now on, that this worker takes nothing new."""
        self._is_draining = True
        self._wake.set()

    async def beat(self) -> None:
        """One heartbeat. Failing to get an answer is not an error: the leases' own clocks see to that.

        Raises:
            LuthierError: the coordinator refuses this worker, such as because another process has taken its id.
        """
        asked_at = asyncio.get_running_loop().time()
        held = dict(self._held)
        request = HeartbeatRequest(
            worker_id=self._worker_id,
            instance_id=self._instance_id,
            is_draining=self._is_draining,
            stages=[
                StageHeartbeat(
                    stage_id=lease.stage_id, fence=lease.fence, progress=lease.progress, address=lease.address
                )
                for lease in held.values()
            ],
        )
        try:
            response = await self._coordinator.heartbeat(request, timeout=self._interval)
        except NotFoundError:
            await self._on_forgotten()
            return
        except NO_ANSWER as error:
            _log.warning("no answer to a heartbeat: %s", error)
            return
        for verdict in response.verdicts:
            lease = held.get(verdict.stage_id)
            # A lease that was released while the heartbeat was under way is nobody's business any more.
            if lease is None or self._held.get(verdict.stage_id) is not lease:
                continue
            if verdict.verdict in _RENEWALS:
                lease.renew(asked_at)
                if verdict.gang.num_workers:
                    lease.take_place(verdict.gang)
                if verdict.verdict == StageVerdict.VERDICT_PAUSE:
                    lease.pause_asked.set()
            elif verdict.verdict in _VERDICTS:
                lease.end(_VERDICTS[verdict.verdict])
