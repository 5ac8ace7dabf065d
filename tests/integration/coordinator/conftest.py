"""The coordinator's commands on a real database, without gRPC in between."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import nats
import pytest
from sqlmodel import col, select, update

from coordinator.bus import Bus
from coordinator.commands.claims import claim_stage
from coordinator.commands.ends import complete_stage, fail_stage
from coordinator.commands.jobs import create_job
from coordinator.commands.workers import register_worker
from coordinator.gang import Gang
from coordinator.lane import Lane
from coordinator.outbox import Relay
from coordinator.reconcile import Reconciler
from coordinator.store.engine import Database
from coordinator.store.jobs import PostgresJobs
from coordinator.store.migrate import migrate
from coordinator.store.notifications import Notifications
from coordinator.store.tables import OutboxRow, StageRow, WorkerRow
from coordinator.terms import Terms
from luthier.v1.event_pb2 import Event
from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities

KINDS = ["preprocess", "train", "evaluate", "export", "deploy"]
LEASE = timedelta(seconds=30)
TERMS = Terms(lease=LEASE, quarantine=timedelta(seconds=60), artifacts="/a")


class Play:
    """What a client and a worker would do, as plain calls."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = PostgresJobs(database)
        self.terms = TERMS
        self.lane = Lane(self.store, TERMS)
        self.reconciler = Reconciler(self.store, TERMS, timedelta(seconds=1))
        self.claims = 0

    async def create_job(self, **changes: Any) -> Any:
        spec = {"name": "tickets", "base_model": "tiny", "data": {"path": "/d.jsonl"}} | changes
        return await create_job(self.store, "default", json.dumps(spec), "", "")

    async def claim(
        self, stage_id: str, worker_id: str = "w", lease: timedelta = LEASE, database: Database | None = None
    ) -> Any:
        """Claims with a request id of its own."""
        self.claims += 1
        lane = Lane(PostgresJobs(database or self.database), replace(TERMS, lease=lease))
        reply = await claim_stage(lane, stage_id, worker_id, f"claim-{self.claims}")
        return reply.assignment if reply.HasField("assignment") else None

    async def complete(self, stage: Any) -> Any:
        outputs = StageOutputs(result_json="{}", gate_passed=True)
        return (await complete_stage(self.lane, stage.stage_id, stage.fence, outputs)).stage

    async def fail(self, stage: Any, failure_class: Any) -> Any:
        failure = Failure(failure_class=failure_class, message="broken")
        return (await fail_stage(self.lane, stage.stage_id, stage.fence, failure)).stage

    async def events(self) -> list[Event]:
        async with self.database.transaction() as session:
            query = select(OutboxRow.payload).where(col(OutboxRow.sequence).is_not(None))
            payloads = (await session.exec(query.order_by(col(OutboxRow.sequence)))).all()
        return [Event.FromString(payload) for payload in payloads]

    async def facts(self) -> list[str]:
        return [event.WhichOneof("fact") or "" for event in await self.events()]

    async def wake_ups(self) -> int:
        async with self.database.transaction() as session:
            query = select(OutboxRow).where(col(OutboxRow.sequence).is_(None))
            return len((await session.exec(query)).all())

    async def row(self, stage_id: str) -> StageRow:
        async with self.database.transaction() as session:
            return await session.get_one(StageRow, stage_id)

    async def worker(self, worker_id: str) -> WorkerRow:
        async with self.database.transaction() as session:
            return await session.get_one(WorkerRow, worker_id)

    async def shift(self, stage_id: str, **columns: timedelta) -> None:
        """Moves times of a stage, as if that much time had passed (negative: back)."""
        row = await self.row(stage_id)
        moved = {name: getattr(row, name) + delta for name, delta in columns.items()}
        async with self.database.transaction() as session:
            await session.exec(update(StageRow).where(col(StageRow.stage_id) == stage_id).values(moved))

    async def set_gang(self, stage_id: str, gang: Gang, **fields: Any) -> None:
        """Changes a gang, and has the reconciler look at it."""
        changed = replace(gang, **fields)
        values = {"gang": changed, "gang_time": changed.due_time}
        async with self.database.transaction() as session:
            await session.exec(update(StageRow).where(col(StageRow.stage_id) == stage_id).values(values))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """A migrated database."""
    made = Database(postgres_url)
    await migrate(made)
    yield made
    await made.close()


@pytest.fixture
async def play(database: Database) -> Play:
    """A project with one worker that can run everything."""
    capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=KINDS)
    await register_worker(PostgresJobs(database), "w", "here", capabilities)
    return Play(database)


@pytest.fixture
async def connect_relay(database: Database, nats_url: str) -> AsyncIterator[Callable[[], Awaitable[Relay]]]:
    """Makes relays that are connected to a real NATS; each is stepped by the test."""
    clients = []

    class ConnectedBus(Bus):
        async def connect_now(self) -> None:
            self._client = await nats.connect(nats_url)
            clients.append(self._client)

    async def connect() -> Relay:
        bus = ConnectedBus(nats_url)
        await bus.connect_now()
        return Relay(database, bus, Notifications(database))

    yield connect
    for client in clients:
        await client.close()


@pytest.fixture
async def jetstream(nats_url: str) -> AsyncIterator[Any]:
    """JetStream as a consumer sees it."""
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()
