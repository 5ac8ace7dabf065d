"""AdminService from the SDK through the real gateway, and how a worker's dead letter gets there."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from gateway.app import serving
from luthier import errors
from luthier.client import AsyncClient
from luthier.settings import GatewaySettings
from luthier.v1 import worker_service_pb2 as pb
from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub

Connect = Callable[..., AbstractAsyncContextManager[AsyncClient]]


@pytest.fixture
async def connect(coordinator: Any) -> AsyncIterator[Connect]:
    """Makes a client with a key of the given permissions."""
    settings = GatewaySettings(
        coordinator=coordinator.address, internal_token=coordinator.token, gateway_listen="127.0.0.1:0"
    )
    async with serving(settings) as port:

        @asynccontextmanager
        async def made(*permissions: str) -> AsyncIterator[AsyncClient]:
            key = "lk_" + hashlib.sha256(repr(permissions).encode()).hexdigest()[:43]
            digest = hashlib.sha256(key.encode()).digest()
            request = CreateApiKeyRequest(project_id="default", key_sha256=digest, permissions=permissions)
            await AccessServiceStub(coordinator.channel).CreateApiKey(request, metadata=coordinator.metadata)
            async with AsyncClient(f"127.0.0.1:{port}", key) as client:
                yield client

        yield made


@pytest.fixture
async def admin(connect: Connect) -> AsyncIterator[AsyncClient]:
    async with connect("admin.*") as client:
        yield client


async def execute(coordinator: Any, statement: str, *values: Any) -> None:
    database = await asyncpg.connect(coordinator.database_url)
    await database.execute(statement, *values)
    await database.close()


def record(worker: Any, **changes: Any) -> Any:
    values = {"subject": "luthier.stage.train.cpu.job_x", "payload": b"\xff", "reason": "it is no StageReady"}
    return worker.stub.RecordDeadLetter(pb.RecordDeadLetterRequest(**(values | changes)), metadata=worker.metadata)


async def test_workers_are_listed_over_several_pages_and_released(worker: Any, coordinator: Any, admin: Any) -> None:
    for number in range(4):
        other = pb.RegisterWorkerRequest(worker_id=f"other-{number}", display_name="there")
        await worker.stub.RegisterWorker(other, metadata=worker.metadata)
    listed = await admin.workers.list()
    assert [row.id for row in listed] == [*(f"other-{number}" for number in (3, 2, 1, 0)), "worker-1"]
    assert listed[-1].worker_classes == ("cpu",)
    assert [row.id for row in await admin.workers.list(limit=2)] == ["other-3", "other-2"]
    await execute(
        coordinator,
        "UPDATE worker SET state = 'QUARANTINED', num_failures_in_row = 3, quarantined_until = now() + interval '1 h' "
        "WHERE worker_id = 'worker-1'",
    )
    for _ in range(2):
        released = await admin.workers.release("worker-1")
        assert (released.state, released.num_failures_in_row, released.quarantined_until) == ("READY", 0, None)
    with pytest.raises(errors.NotFoundError):
        await admin.workers.release("nobody")


async def test_what_a_worker_gives_up_is_listed_once_and_published_again_on_retry(
    worker: Any, admin: Any, coordinator: Any
) -> None:
    job = await worker.create_job()
    subject = f"luthier.stage.preprocess.cpu.{job.job_id}"
    for _ in range(2):
        await record(worker, subject=subject, headers={"Nats-Msg-Id": "wake_1"}, payload=b"garbage\0")
    (letter,) = await admin.dead_letters.list()
    assert (letter.source, letter.subject, letter.payload) == ("WORKER", subject, b"garbage\0")
    assert (letter.job_id, letter.project_id, letter.reason) == (job.job_id, "default", "it is no StageReady")
    first, again = await admin.dead_letters.retry(letter.id), await admin.dead_letters.retry(letter.id)
    assert first.retried_time == again.retried_time is not None
    assert await admin.dead_letters.list() == []
    assert [row.id for row in await admin.dead_letters.list(include_retried=True)] == [letter.id]
    database = await asyncpg.connect(coordinator.database_url)
    rows = await database.fetch("SELECT * FROM outbox WHERE payload = $1", b"garbage\0")
    await database.close()
    assert [(row["subject"], row["job_id"]) for row in rows] == [(subject, job.job_id)]
    assert "wake_1" not in rows[0]["headers"]
    # The same message fails once more.
    await record(worker, subject=subject, headers={"Nats-Msg-Id": "wake_1"}, payload=b"garbage\0")
    (second,) = await admin.dead_letters.list()
    assert second.id != letter.id


async def test_a_message_of_a_stage_is_kept_with_its_job(worker: Any, admin: Any) -> None:
    job = await worker.create_job()
    await record(worker, stage_id=job.stages[0].stage_id)
    (letter,) = await admin.dead_letters.list()
    assert (letter.job_id, letter.stage_id) == (job.job_id, job.stages[0].stage_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "", "payload": b"", "reason": ""},
        {"subject": "nul \0 and \n", "reason": "why\0", "headers": {"a\0": "b\0"}},
        {"stage_id": "no id\0"},
        {"subject": "s" * 100_000, "reason": "r" * 100_000, "headers": {str(n): "h" * 1000 for n in range(100)}},
    ],
    ids=["empty", "controls", "bad stage", "long"],
)
async def test_whatever_a_worker_sends_is_kept_within_bounds(worker: Any, admin: Any, changes: dict[str, Any]) -> None:
    await record(worker, **changes)
    (letter,) = await admin.dead_letters.list()
    assert len(letter.reason) <= 4096
    assert sum(len(name) + len(value) for name, value in letter.headers.items()) <= 8192
    with pytest.raises(errors.ConflictError, match="no job of this installation"):
        await admin.dead_letters.retry(letter.id)
    assert await admin.dead_letters.list() == [letter]


async def test_large_payloads_are_cut_and_listed_over_several_messages(worker: Any, admin: Any) -> None:
    sizes = [3 << 20, 1 << 20, 1 << 19, 1 << 19, 1 << 19]
    for size in sizes:
        await record(worker, payload=bytes(size))
    letters = await admin.dead_letters.list()
    assert [len(letter.payload) for letter in letters] == [1 << 19, 1 << 20, 1 << 20]


async def test_the_keeper_of_one_project_does_not_keep_the_installation(connect: Connect, worker: Any) -> None:
    async with connect("*") as client:
        for refused in (
            client.workers.list(),
            client.workers.release("worker-1"),
            client.dead_letters.list(),
            client.dead_letters.retry("dead_1"),
        ):
            with pytest.raises(errors.PermissionDeniedError, match="admin"):
                await refused
    async with connect("admin.workers.list") as client:
        assert len(await client.workers.list()) == 1
        with pytest.raises(errors.PermissionDeniedError):
            await client.workers.release("worker-1")


async def test_an_unknown_letter_and_a_bad_token(admin: Any, coordinator: Any) -> None:
    with pytest.raises(errors.NotFoundError):
        await admin.dead_letters.retry("dead_1")
    with pytest.raises(errors.InvalidRequestError):
        await admin.dead_letters.retry("no id")
