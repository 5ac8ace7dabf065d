"""How a worker talks to the coordinator: one small face, so that tests may put a fake behind it, and gRPC behind that.

Every call has a deadline, carries the internal token and, when spans are exported, the current trace, and raises
`luthier.errors`.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message
from opentelemetry.instrumentation.grpc import aio_client_interceptors

from luthier import telemetry
from luthier.errors import DeadlineError, InternalError, UnavailableError, error_of
from luthier.transport import COORDINATOR_OPTIONS, coordinator_target
from luthier.v1.worker_service_pb2 import (
    ClaimStageRequest,
    ClaimStageResponse,
    CompleteStageRequest,
    CompleteStageResponse,
    FailStageRequest,
    FailStageResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    LeaveGangRequest,
    LeaveGangResponse,
    RecordDeadLetterRequest,
    RecordDeadLetterResponse,
    RegisterWorkerRequest,
    RegisterWorkerResponse,
    ReportStageRequest,
    ReportStageResponse,
)
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub

NO_ANSWER = (UnavailableError, DeadlineError, InternalError)
"""Errors after which the same call may be repeated; any other one is the coordinator's answer."""

_Response = TypeVar("_Response", bound=Message)


class Coordinator(Protocol):
    """WorkerService as a worker sees it. Every call raises LuthierError."""

    async def register_worker(self, request: RegisterWorkerRequest) -> RegisterWorkerResponse:
        """Announces this worker."""

    async def claim_stage(self, request: ClaimStageRequest) -> ClaimStageResponse:
        """Takes a stage."""

    async def heartbeat(self, request: HeartbeatRequest, timeout: float) -> HeartbeatResponse:
        """Renews worker and leases; answers within `timeout` seconds or not at all."""

    async def report_stage(self, request: ReportStageRequest) -> ReportStageResponse:
        """Records metrics and checkpoints."""

    async def complete_stage(self, request: CompleteStageRequest) -> CompleteStageResponse:
        """Records the outputs."""

    async def fail_stage(self, request: FailStageRequest) -> FailStageResponse:
        """Gives the attempt up."""

    async def leave_gang(self, request: LeaveGangRequest) -> LeaveGangResponse:
        """Gives a seat up, or says that its work is done."""

    async def record_dead_letter(self, request: RecordDeadLetterRequest) -> RecordDeadLetterResponse:
        """Keeps a message that this worker can do nothing with."""


class GrpcCoordinator:
    """`Coordinator` over gRPC: finds a restarted coordinator by itself, and another one when there are several.

    Calls take turns between the coordinators. One that was killed is left at once, one that is frozen within 8 s
    (keepalive); until then every other call to it runs out of time. Heartbeats cannot afford that: they have a channel
    of their own, on which nothing else takes a turn, and two tries within one interval, so one of two tries in a row
    reaches a coordinator that is not frozen.
    """

    def __init__(self, addresses: str, token: str, timeout: float) -> None:
        """Talks to `host:port` or `ip:port,ip:port`, showing `token`; a call may take `timeout` seconds.

        Raises:
            ValueError: the list of addresses is unusable.
        """
        self._channel, self._pulse = (_open(coordinator_target(addresses)) for _ in range(2))
        self._stub = WorkerServiceStub(self._channel)
        self._pulse_stub = WorkerServiceStub(self._pulse)
        self._num_pulse_tries = 2 if "," in addresses else 1
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._addresses = addresses
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()
        await self._pulse.close()

    async def register_worker(self, request: RegisterWorkerRequest) -> RegisterWorkerResponse:
        """Announces this worker."""
        return await self._call(self._stub.RegisterWorker, request)

    async def claim_stage(self, request: ClaimStageRequest) -> ClaimStageResponse:
        """Takes a stage."""
        return await self._call(self._stub.ClaimStage, request)

    async def heartbeat(self, request: HeartbeatRequest, timeout: float) -> HeartbeatResponse:
        """Renews worker and leases; answers within `timeout` seconds or not at all."""
        timeout = min(timeout, self._timeout) / self._num_pulse_tries
        for _ in range(self._num_pulse_tries - 1):
            with suppress(DeadlineError):
                return await self._call(self._pulse_stub.Heartbeat, request, timeout)
        return await self._call(self._pulse_stub.Heartbeat, request, timeout)

    async def report_stage(self, request: ReportStageRequest) -> ReportStageResponse:
        """Records metrics and checkpoints."""
        return await self._call(self._stub.ReportStage, request)

    async def complete_stage(self, request: CompleteStageRequest) -> CompleteStageResponse:
        """Records the outputs."""
        return await self._call(self._stub.CompleteStage, request)

    async def fail_stage(self, request: FailStageRequest) -> FailStageResponse:
        """Gives the attempt up."""
        return await self._call(self._stub.FailStage, request)

    async def leave_gang(self, request: LeaveGangRequest) -> LeaveGangResponse:
        """Gives a seat up, or says that its work is done."""
        return await self._call(self._stub.LeaveGang, request)

    async def record_dead_letter(self, request: RecordDeadLetterRequest) -> RecordDeadLetterResponse:
        """Keeps a message that this worker can do nothing with."""
        return await self._call(self._stub.RecordDeadLetter, request)

    async def _call(
        self, method: Callable[..., Awaitable[_Response]], request: Any, timeout: float | None = None
    ) -> _Response:
        timeout = timeout or self._timeout
        try:
            # wait_for_ready: while the coordinator restarts, the call goes out as soon as the channel is up again.
            return await method(request, timeout=timeout, metadata=self._metadata, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise DeadlineError(
                    f"no answer from the coordinator at {self._addresses} within {timeout:g} s"
                ) from error
            raise error_of(error.code(), error.details() or error.code().name) from error


def _open(target: str) -> grpc.aio.Channel:
    interceptors = aio_client_interceptors() if telemetry.is_exporting() else None
    return grpc.aio.insecure_channel(target, options=COORDINATOR_OPTIONS, interceptors=interceptors)
