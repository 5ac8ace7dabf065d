"""WorkerService. Internal: what workers say to the coordinator."""

from coordinator.api.requests import Context, id_of
from coordinator.commands.claims import claim_stage
from coordinator.commands.dead_letters import record_message_of_worker
from coordinator.commands.ends import complete_stage, fail_stage
from coordinator.commands.gangs import leave_gang
from coordinator.commands.reports import report_stage
from coordinator.commands.workers import heartbeat, register_worker
from coordinator.job_store import JobStore
from coordinator.lane import Lane
from coordinator.store.engine import Database
from coordinator.terms import Terms
from luthier.v1 import worker_service_pb2 as pb
from luthier.v1.worker_service_pb2_grpc import WorkerServiceServicer

HEARTBEATS_PER_LEASE = 3


class WorkerService(WorkerServiceServicer):
    """Claims, heartbeats and results."""

    def __init__(self, database: Database, store: JobStore, terms: Terms) -> None:
        self._database = database
        self._store = store
        self._terms = terms
        self._lane = Lane(store, terms)

    async def RegisterWorker(self, request: pb.RegisterWorkerRequest, context: Context) -> pb.RegisterWorkerResponse:
        """Announces a worker, or the same worker again."""
        worker_id = id_of(request.worker_id, "worker_id")
        worker = await register_worker(
            self._store, worker_id, request.display_name, request.capabilities, request.instance_id
        )
        interval = self._terms.lease / HEARTBEATS_PER_LEASE
        return pb.RegisterWorkerResponse(worker=worker, lease=self._terms.lease, heartbeat_interval=interval)

    async def ClaimStage(self, request: pb.ClaimStageRequest, context: Context) -> pb.ClaimStageResponse:
        """An assignment, or none."""
        return await claim_stage(
            self._lane,
            id_of(request.stage_id, "stage_id"),
            id_of(request.worker_id, "worker_id"),
            id_of(request.request_id, "request_id"),
        )

    async def Heartbeat(self, request: pb.HeartbeatRequest, context: Context) -> pb.HeartbeatResponse:
        """One verdict per attempt, in the order of the request."""
        worker_id = id_of(request.worker_id, "worker_id")
        verdicts = await heartbeat(
            self._store, worker_id, request.is_draining, request.stages, self._terms.lease, request.instance_id
        )
        return pb.HeartbeatResponse(verdicts=verdicts)

    async def ReportStage(self, request: pb.ReportStageRequest, context: Context) -> pb.ReportStageResponse:
        """Metrics and checkpoints."""
        stage_id = id_of(request.stage_id, "stage_id")
        retired = request.retired_checkpoint_uris
        await report_stage(self._store, stage_id, request.fence, request.points, request.checkpoints, retired)
        return pb.ReportStageResponse()

    async def CompleteStage(self, request: pb.CompleteStageRequest, context: Context) -> pb.CompleteStageResponse:
        """The outputs, and perhaps the next stage."""
        stage_id = id_of(request.stage_id, "stage_id")
        claim = request.worker_id, request.claim_request_id
        if any(claim):
            claim = id_of(claim[0], "worker_id"), id_of(claim[1], "claim_request_id")
        return await complete_stage(self._lane, stage_id, request.fence, request.outputs, *claim)

    async def FailStage(self, request: pb.FailStageRequest, context: Context) -> pb.FailStageResponse:
        """The failure."""
        stage_id = id_of(request.stage_id, "stage_id")
        return await fail_stage(self._lane, stage_id, request.fence, request.failure)

    async def LeaveGang(self, request: pb.LeaveGangRequest, context: Context) -> pb.LeaveGangResponse:
        """A seat is given up, or its work is done."""
        stage_id, worker_id = id_of(request.stage_id, "stage_id"), id_of(request.worker_id, "worker_id")
        failure = request.failure if request.HasField("failure") else None
        await leave_gang(self._store, self._terms, stage_id, request.fence, worker_id, failure)
        return pb.LeaveGangResponse()

    async def RecordDeadLetter(
        self, request: pb.RecordDeadLetterRequest, context: Context
    ) -> pb.RecordDeadLetterResponse:
        """Whatever the message is, it is kept."""
        await record_message_of_worker(
            self._database, request.reason, request.subject, request.headers, request.payload, request.stage_id
        )
        return pb.RecordDeadLetterResponse()
