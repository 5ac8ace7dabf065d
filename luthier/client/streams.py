"""Streams that survive a restart of the gateway or the coordinator: what to send, what to let through, when to stop.

Nothing here does I/O; the sync and the async client run the same `Subscription`. After a break it asks for what comes
after the last event it has let through, so no event is lost and none is repeated.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc

from luthier.client.calls import Call
from luthier.client.convert import event_of, job_of
from luthier.client.types import Event, Job
from luthier.errors import InternalError
from luthier.v1 import event_pb2, event_service_pb2, job_service_pb2

T = TypeVar("T")

_FIRST_DELAY_SECONDS = 0.2
_MAX_DELAY_SECONDS = 5.0
# A server that stops cancels what is open; its connection is gone a moment later.
_BREAKS = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


@dataclass
class Subscription(Generic[T]):
    """A position in an event log, and how to go on from there."""

    call: Callable[[int], Call]
    """The call that continues after a sequence number."""
    accept: Callable[["Subscription[T]", Any], Iterator[T]]
    """What a message of the stream means to the caller; moves the position."""
    position: int = 0
    is_complete: bool = False
    """Whether nothing can follow."""
    patience_seconds: float = 120.0
    """Longest time waited between tries before giving up."""
    _has_received: bool = field(default=False, init=False)
    _num_breaks: int = field(default=0, init=False)
    _waited_seconds: float = field(default=0.0, init=False)

    def next_call(self) -> Call:
        """The call to make now."""
        return self.call(self.position)

    def receive(self, message: Any) -> Iterator[T]:
        """What to hand on for one message."""
        self._has_received, self._num_breaks, self._waited_seconds = True, 0, 0.0
        yield from self.accept(self, message)

    def delay_after(self, code: grpc.StatusCode) -> float | None:
        """Seconds to wait before the next try after a break; None when the error is final.

        A stream that never said anything is not resumed: nobody is there, and the caller should know now.
        """
        if code not in _BREAKS or not self._has_received or self._waited_seconds >= self.patience_seconds:
            return None
        longest = min(_FIRST_DELAY_SECONDS * 2**self._num_breaks, _MAX_DELAY_SECONDS)
        delay = random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret
        self._num_breaks += 1
        self._waited_seconds += delay
        return delay


def watch_job(job_id: str, after: int, patience_seconds: float) -> Subscription[Job | Event]:
    """Snapshots and events of a job until it is terminal."""

    def call(position: int) -> Call:
        request = job_service_pb2.WatchJobRequest(job_id=job_id, after_sequence=position)
        return Call("JobService/WatchJob", request, job_service_pb2.WatchJobResponse)

    def accept(
        subscription: Subscription[Job | Event], message: job_service_pb2.WatchJobResponse
    ) -> Iterator[Job | Event]:
        if message.HasField("event"):
            yield from _unseen(subscription, message.event)
        elif message.HasField("job"):
            job = job_of(message.job)
            subscription.is_complete = job.is_terminal
            yield job

    return Subscription(call, accept, after, patience_seconds=patience_seconds)


def subscribe_events(after: int, job_id: str | None, patience_seconds: float) -> Subscription[Event]:
    """Events after a sequence number, then every new one."""

    def call(position: int) -> Call:
        request = event_service_pb2.SubscribeEventsRequest(after_sequence=position, job_id=job_id or "")
        return Call("EventService/SubscribeEvents", request, event_service_pb2.SubscribeEventsResponse)

    def accept(
        subscription: Subscription[Event], message: event_service_pb2.SubscribeEventsResponse
    ) -> Iterator[Event]:
        if not message.HasField("event"):
            return
        sequence, expected = message.event.sequence, subscription.position + 1
        if job_id is None and sequence > expected:
            raise InternalError(f"the event log jumped from {expected - 1} to {sequence}; events are missing")
        yield from _unseen(subscription, message.event)

    return Subscription(call, accept, after, patience_seconds=patience_seconds)


def _unseen(subscription: Subscription[Any], event: event_pb2.Event) -> Iterator[Event]:
    if event.sequence > subscription.position:
        subscription.position = event.sequence
        yield event_of(event)
