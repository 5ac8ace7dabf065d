"""Every RPC of the public services, from the SDK through the real gateway to a real coordinator."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import grpc
import pytest

from gateway.app import serving
from luthier import errors
from luthier.artifacts import join, publish
from luthier.client import AsyncClient, Event, Job
from luthier.dataset_versions import datasets_uri, version_uri
from luthier.settings import GatewaySettings
from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.project_service_pb2 import GetProjectRequest
from luthier.v1.project_service_pb2_grpc import ProjectServiceStub

JOB = {"name": "tickets", "base_model": "smollm2-135m-instruct", "data": {"path": "/data/train.jsonl"}}


@dataclass(frozen=True)
class Platform:
    """A coordinator with a gateway before it, and a client in each of two projects."""

    client: AsyncClient
    stranger: AsyncClient
    address: str
    key: str


async def make_key(coordinator, project_id: str, letter: str) -> str:
    key = "lk_" + letter * 43
    request = CreateApiKeyRequest(
        project_id=project_id, key_sha256=hashlib.sha256(key.encode()).digest(), permissions=["*"]
    )
    metadata = (("authorization", f"Bearer {coordinator.token}"),)
    await AccessServiceStub(coordinator.channel).CreateApiKey(request, metadata=metadata)
    return key


@pytest.fixture
async def platform(coordinator) -> AsyncIterator[Platform]:
    settings = GatewaySettings(
        coordinator=coordinator.address, internal_token=coordinator.token, gateway_listen="127.0.0.1:0"
    )
    database = await asyncpg.connect(coordinator.database_url)
    await database.execute("INSERT INTO project (project_id, display_name) VALUES ('other', 'Other')")
    await database.close()
    key, other = await make_key(coordinator, "default", "a"), await make_key(coordinator, "other", "b")
    async with serving(settings) as port:
        address = f"127.0.0.1:{port}"
        async with AsyncClient(address, key) as client, AsyncClient(address, other) as stranger:
            yield Platform(client, stranger, address, key)


async def test_a_job_from_submit_to_cancel(platform):
    client = platform.client
    job = await client.submit(JOB, request_id="req_1")
    assert (await client.submit(JOB, request_id="req_1")).id == job.id
    assert [row.id for row in await client.list()] == [job.id]
    assert [stage.name for stage in (await client.get(job.id)).stages] == ["preprocess", "train", "evaluate", "export"]
    assert await client.metrics(job.id) == []

    updates: list[Job | Event] = []
    async for update in client.watch(job.id):
        updates.append(update)
        if len(updates) == 1:
            await client.cancel(job.id)
    assert updates[-1].state == "CANCELLED"
    sequences = [update.sequence for update in updates if isinstance(update, Event)]
    assert sequences == [event.sequence async for event in client.events(job=job.id)]
    assert (await client.wait(job.id, timeout_seconds=10)).is_terminal
    assert (await client.cancel(job.id)).state == "CANCELLED"


async def test_following_the_log_shows_what_happens_later(platform):
    async def first_names() -> list[str]:
        names = []
        async for event in platform.client.events(follow=True):
            if event.kind == "job_created":
                names.append(event.data["name"])
            if len(names) == 2:
                return names
        return names

    async with asyncio.timeout(20):
        await platform.client.submit({**JOB, "name": "first"})
        following = asyncio.create_task(first_names())
        await platform.client.submit({**JOB, "name": "second"})
        assert await following == ["first", "second"]


async def test_another_project_sees_none_of_it(platform):
    job = await platform.client.submit(JOB)
    stranger = platform.stranger
    assert await stranger.list() == []
    assert [event async for event in stranger.events()] == []
    for refused in (stranger.get(job.id), stranger.cancel(job.id), stranger.metrics(job.id), stranger.wait(job.id)):
        with pytest.raises(errors.NotFoundError):
            await refused


async def test_a_project_prunes_its_own_datasets_alone(platform, tmp_path):
    version = "sha256:" + "a" * 64
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "train.arrow").write_bytes(b"rows")
    publish(folder, join(version_uri(datasets_uri(str(tmp_path / "artifacts"), "default"), version), "stage-1-1"))
    (found,) = await platform.client.datasets.versions()
    assert (found.version, found.num_datasets, found.job_ids, found.model_ids) == (version, 1, (), ())
    assert await platform.stranger.datasets.versions() == []
    assert await platform.stranger.datasets.prune(timedelta(0), dry_run=False) == []
    assert await platform.client.datasets.prune(timedelta(days=1), dry_run=False) == []
    assert await platform.client.datasets.prune(timedelta(0), dry_run=False) == [found]
    assert await platform.client.datasets.versions() == []


async def test_unknown_things_and_bad_requests(platform):
    client = platform.client
    assert await client.models.list() == []
    assert await client.deployments.list() == []
    for missing in (client.get("job_x"), client.models.get("mdl_x"), client.deployments.get("nothing")):
        with pytest.raises(errors.NotFoundError):
            await missing
    with pytest.raises(errors.NotFoundError):
        await client.chat("nothing", "Hello")
    with pytest.raises(errors.InvalidRequestError):
        await client.get("not an id")
    await client.submit(JOB, request_id="req_1")
    with pytest.raises(errors.AlreadyExistsError):
        await client.submit({**JOB, "name": "another"}, request_id="req_1")


async def test_the_project_is_the_one_of_the_key(platform):
    async with grpc.aio.insecure_channel(platform.address) as channel:
        metadata = (("authorization", f"Bearer {platform.key}"),)
        response = await ProjectServiceStub(channel).GetProject(GetProjectRequest(), metadata=metadata)
    assert response.project.project_id == "default"


async def test_a_key_that_nobody_made_gets_nothing(platform):
    async with AsyncClient(platform.address, "lk_" + "z" * 43) as client:
        with pytest.raises(errors.UnauthenticatedError):
            await client.list()
