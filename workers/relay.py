"""Passes on what a runner says: progress to the next heartbeat, metrics in batches, checkpoints (committed
and retired ones) at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress
from luthier.v1.worker_service_pb2 import ReportStageRequest
from workers.contract import LogLine, Message, Retirement
from workers.lease import Lease

_log = logging.getLogger(__name__)

_BATCH_SECONDS = 1.0
_BATCH_POINTS = 200


class Relay:
    """Between one runner and the coordinator."""

    def __init__(self, lease: Lease, send: Callable[[ReportStageRequest], Awaitable[object]]) -> None:
        """`send` returns once the coordinator has the report, or the attempt is over."""
        self._lease = lease
        self._send = send
        self._points: list[MetricPoint] = []
        self._checkpoints: list[Checkpoint] = []
        self._retired: list[str] = []
        self._is_closed = False
        self._has_something = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def take(self, message: Message) -> None:
        """Accepts one message; never waits."""
        if isinstance(message, Progress):
            self._lease.progress = message
            return
        if isinstance(message, LogLine):
            logging.getLogger(message.logger).log(message.level, "%s", message.message)
            return
        if isinstance(message, MetricPoint):
            self._points.append(message)
        elif isinstance(message, Retirement):
            self._retired.extend(message.uris)
        else:
            self._checkpoints.append(message)
        self._has_something.set()
        if self._checkpoints or self._retired or len(self._points) >= _BATCH_POINTS:
            self._is_urgent.set()

    def close(self) -> None:
        """Nothing more will come: `run` returns once everything is sent."""
        self._is_closed = True
        self._has_something.set()
        self._is_urgent.set()

    async def run(self) -> None:
        """Sends reports until closed."""
        while True:
            await self._has_something.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_BATCH_SECONDS):
                    await self._is_urgent.wait()
            await self._flush()
            if self._is_closed and not (self._points or self._checkpoints or self._retired):
                return

    async def _flush(self) -> None:
        points, self._points = self._points[:_BATCH_POINTS], self._points[_BATCH_POINTS:]
        checkpoints, self._checkpoints = self._checkpoints, []
        retired, self._retired = self._retired, []
        if not self._points and not self._is_closed:
            self._has_something.clear()
        if len(self._points) < _BATCH_POINTS and not self._is_closed:
            self._is_urgent.clear()
        if points or checkpoints or retired:
            await self._send(
                ReportStageRequest(
                    stage_id=self._lease.stage_id,
                    fence=self._lease.fence,
                    points=points,
                    checkpoints=checkpoints,
                    retired_checkpoint_uris=retired,
                )
            )
