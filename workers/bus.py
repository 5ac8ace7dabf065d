"""NATS for a worker: wake-ups from JetStream, and the events of the job at hand as hints.

There is one durable pull consumer per (stage kind, worker class); all are pulled at once, one wake-up is taken.

A wake-up is a hint; losing one costs time, never a stage. So nothing here is retried beyond a pull: a wake-up that
arrives when nobody waits for it is handed back at once, for another worker.

The stream belongs to the coordinator. When stream or consumer are missing, or were deleted while we were pulling,
the consumer is made anew. nats-py shows a deleted consumer as an empty pull, so after some of those in a row the
server is asked.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import product

import nats
from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from luthier.subjects import STAGE_CONSUMER, STAGES_STREAM, job_events_filter, stage_consumer, stage_filter
from luthier.telemetry import TRACEPARENT
from luthier.v1.event_pb2 import StageReady

_log = logging.getLogger(__name__)

_PULL_SECONDS = 5.0
_EMPTY_PULLS = 3
_PAUSE_SECONDS = 1.0
HAND_BACK_SECONDS = 5.0


@dataclass(frozen=True)
class WakeUp:
    """A stage that may be claimed. Settle it by exactly one of the methods; without one it comes again later."""

    ready: StageReady | None
    """What the message says; None when it is no StageReady."""
    message: Msg

    @property
    def headers(self) -> dict[str, str]:
        """Of the message."""
        return self.message.headers or {}

    @property
    def traceparent(self) -> str:
        """The job's trace; empty without one."""
        return self.headers.get(TRACEPARENT, "")

    async def settle(self) -> None:
        """The wake-up has done its work: the claim is decided, for us or for somebody else, or it is on record.

        Nobody waits for the server's answer: if the acknowledgement is lost, the wake-up comes again and does no harm.
        """
        try:
            await self.message.ack()
        except nats.errors.Error as error:
            _log.warning("could not acknowledge a wake-up on %s, it will come again: %s", self.message.subject, error)

    async def hand_back(self, seconds: float = HAND_BACK_SECONDS) -> None:
        """The claim could not be decided, or not for us: it comes again, to anybody, within so many seconds."""
        try:
            await self.message.nak(delay=seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        except nats.errors.Error as error:
            _log.warning("could not hand back a wake-up on %s: %s", self.message.subject, error)


class StageQueue:
    """The wake-ups of the given stage kinds and worker classes."""

    def __init__(
        self, url: str, kinds: Iterable[str], worker_classes: Iterable[str], *, pull_seconds: float = _PULL_SECONDS
    ) -> None:
        """`url` may carry a password; `pull_seconds` is how long one pull waits at the server."""
        self._url = url
        self._consumers = list(product(kinds, worker_classes))
        self._pull_seconds = pull_seconds
        self._client = Client()
        self._waiting: asyncio.Future[WakeUp | None] | None = None
        self._is_wanted = asyncio.Event()
        self._is_stopped = False

    async def run(self) -> None:
        """Pulls whenever somebody waits in `next`, until stopped.

        Raises:
            ConnectionClosedError: NATS has closed the connection for good, such as for a wrong password.
        """
        # Returns only once connected: NATS may come up after us.
        await self._client.connect(
            servers=[self._url],
            name="luthier-worker",
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=_log_error,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                for kind, worker_class in self._consumers:
                    tasks.create_task(self._pull_all(kind, worker_class))
        finally:
            await self._client.close()

    async def next(self) -> WakeUp | None:
        """The next wake-up; None once stopped. One caller at a time; pulling pauses until the next call."""
        if self._is_stopped:
            return None
        self._waiting = asyncio.get_running_loop().create_future()
        self._is_wanted.set()
        try:
            return await self._waiting
        finally:
            self._waiting = None
            if not self._is_stopped:
                self._is_wanted.clear()

    def stop(self) -> None:
        """No more wake-ups: `next` returns None, now and ever after, and `run` returns after the pulls under way.

        A cancelled `run` must be stopped as well: on Python 3.11 nats-py can swallow a cancellation (cpython#86296).
        """
        self._is_stopped = True
        self._is_wanted.set()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @asynccontextmanager
    async def job_events(self, project_id: str, job_id: str, on_event: Callable[[], None]) -> AsyncIterator[None]:
        """Calls `on_event` whenever an event of the job itself arrives inside the block. While NATS is away none does.

        Raises:
            ValueError: an id is none.
        """

        async def hint(message: Msg) -> None:
            on_event()

        subscription = None
        try:
            subscription = await self._client.subscribe(job_events_filter(project_id, job_id), cb=hint)
        except nats.errors.Error as error:
            _log.warning("no hints for job %s: %s", job_id, error)
        try:
            yield
        finally:
            if subscription is not None:
                with suppress(nats.errors.Error):
                    await subscription.unsubscribe()

    async def _pull_all(self, kind: str, worker_class: str) -> None:
        name = stage_consumer(kind, worker_class)
        subscription: JetStreamContext.PullSubscription | None = None
        num_empty = num_failed = 0
        while True:
            await self._is_wanted.wait()
            if self._is_stopped:
                return
            try:
                if subscription is None:
                    subscription = await self._subscribe(kind, worker_class)
                    num_empty = 0
                if num_empty >= _EMPTY_PULLS:
                    await subscription.consumer_info()
                    num_empty = 0
                [message] = await subscription.fetch(1, timeout=self._pull_seconds)
            except ConnectionClosedError:
                raise
            except TimeoutError:
                num_empty += 1
            except nats.errors.Error as error:
                _log.log(logging.DEBUG if num_failed else logging.WARNING, "cannot pull %s, trying on: %s", name, error)
                num_failed += 1
                if subscription is not None:
                    with suppress(nats.errors.Error):
                        await subscription.unsubscribe()
                    subscription = None
                await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            else:
                num_empty = num_failed = 0
                await self._offer(message)

    async def _subscribe(self, kind: str, worker_class: str) -> JetStreamContext.PullSubscription:
        """Makes the durable consumer, or finds it, and subscribes to its answers."""
        name = stage_consumer(kind, worker_class)
        jetstream = self._client.jetstream()
        config = ConsumerConfig(durable_name=name, filter_subject=stage_filter(kind, worker_class), **STAGE_CONSUMER)
        await jetstream.add_consumer(STAGES_STREAM, config)
        return await jetstream.pull_subscribe_bind(consumer=name, stream=STAGES_STREAM)

    async def _offer(self, message: Msg) -> None:
        if self._waiting is None or self._waiting.done():
            await message.nak()
            return
        self._is_wanted.clear()
        self._waiting.set_result(WakeUp(_decode(message.data), message))


def _decode(payload: bytes) -> StageReady | None:
    try:
        return StageReady.FromString(payload)
    except DecodeError:
        return None


async def _log_error(error: Exception) -> None:
    _log.warning("NATS: %s", error or type(error).__name__)
