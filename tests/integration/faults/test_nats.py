"""Whatever becomes of NATS, every job finishes by itself. Real processes, and a real server for the damage.

One platform suffers all of it, one thing after the other: what was lost before has to be whole again as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.js.api import ConsumerConfig

from luthier.client import AsyncClient
from luthier.subjects import EVENTS_STREAM, STAGES_STREAM
from tests.chaos import faults
from tests.chaos.cluster import Cluster, Shape, running
from tests.chaos.invariants import published_events
from tests.chaos.proxy import Mode
from tests.chaos.services import until

# From the moment that NATS does its work again to the end of every job.
RECOVERY_SECONDS = 60.0
SHAPE = Shape(num_workers=2)

Damage = Callable[[Cluster], Awaitable[object]]


async def half_open(cluster: Cluster) -> None:
    """Nothing gets through to NATS, and nobody is told."""
    links = [cluster.links[name] for name in SHAPE.links if name.endswith(":nats")]
    for link in links:
        link.mode = Mode.HALF_OPEN
    await asyncio.sleep(15)  # this is the fault: so long do the links say nothing
    for link in links:
        link.mode = Mode.PASS


async def delete_everything(cluster: Cluster) -> None:
    for name in (STAGES_STREAM, EVENTS_STREAM):
        await faults.delete_stream(cluster, f"stream:{name}", 0)


async def spoil_consumers(cluster: Cluster) -> None:
    """Consumers come back, but as somebody else has made them."""
    await faults.delete_consumers(cluster, f"stream:{STAGES_STREAM}", 0)
    async with asyncio.timeout(10), await nats.connect(cluster.nats_url, allow_reconnect=False) as client:
        config = ConsumerConfig(
            durable_name="preprocess-cpu", filter_subject="luthier.stage.preprocess.cpu.*", ack_wait=1, max_deliver=2
        )
        await client.jetstream().add_consumer(STAGES_STREAM, config)


DAMAGES: dict[str, Damage] = {
    "killed": partial(faults.kill, target="nats", seconds=1.0),
    "away for 15 s": partial(faults.kill, target="nats", seconds=15.0),
    "killed and wiped": partial(faults.wipe, target="nats", seconds=0.5),
    "stages deleted": partial(faults.delete_stream, target=f"stream:{STAGES_STREAM}", seconds=0.0),
    "events deleted": partial(faults.delete_stream, target=f"stream:{EVENTS_STREAM}", seconds=0.0),
    "all deleted": delete_everything,
    "consumers deleted": partial(faults.delete_consumers, target=f"stream:{STAGES_STREAM}", seconds=0.0),
    "consumers spoilt": spoil_consumers,
    "frozen for 15 s": partial(faults.freeze, target="nats", seconds=15.0),
    "half-open for 15 s": half_open,
}


# `make soak` has them.
LONG = frozenset({"away for 15 s", "frozen for 15 s", "half-open for 15 s"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """A platform for everything that follows."""
    async with running(SHAPE) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the jobs say that they train on; these stages read nothing."""
    path: Path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n')
    return str(path)


async def submit(client: AsyncClient, data: str, number: int) -> list[str]:
    """Ids of `number` new jobs of a few quick stages."""
    spec = {"name": "noop-fault", "base_model": "tiny", "data": {"path": data}}
    return [(await client.submit(spec)).id for _ in range(number)]


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name in LONG else ()) for name in DAMAGES]
)
async def test_every_job_finishes(name: str, data: str, cluster: Cluster) -> None:
    async with cluster.client() as client:
        ids = await submit(client, data, 2)
        damage = asyncio.create_task(DAMAGES[name](cluster))
        while not damage.done():
            ids += await submit(client, data, 1)
            await asyncio.wait([damage], timeout=5)
        await damage
        await cluster.services["nats"].answers()
        ids += await submit(client, data, 2)

        async with asyncio.timeout(RECOVERY_SECONDS):
            states = [(await client.wait(job_id)).state for job_id in ids]
        assert set(states) == {"SUCCEEDED"}

        database = await cluster.database()

        async def is_published() -> bool:
            return not await database.fetchval("SELECT count(*) FROM outbox WHERE published_time IS NULL")

        await until(is_published, 20)
        recorded = await database.fetch("SELECT message_id FROM outbox WHERE sequence IS NOT NULL")
        assert await database.fetchval("SELECT count(*) FROM dead_letter") == 0
        await database.close()
        # Every event is in the stream, also those that went to one that was lost; what came twice was dropped.
        assert sorted(await published_events(cluster)) == sorted(row["message_id"] for row in recorded)
        for service in cluster.services.values():
            assert service.own_exits == []
