"""DatasetService through a real coordinator, with datasets that the workers' own code has put into the store."""

import asyncio
import json
import os
import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from coordinator.commands.datasets import prune_dataset_versions
from coordinator.store.engine import Database
from luthier.artifacts import fetch
from luthier.dataset_versions import datasets_uri, withdraw
from luthier.errors import ConflictError
from luthier.v1 import dataset_service_pb2 as pb
from luthier.v1.dataset_service_pb2_grpc import DatasetServiceStub
from luthier.v1.job_service_pb2 import CancelJobRequest
from luthier.v1.stage_pb2 import Artifact
from workers.data.lineage.versions import DatasetStore

VERSION, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NUM_PLAYERS, NUM_JOBS = 3, 6


class Keeper:
    """Looks after datasets, and plays what workers do with them."""

    def __init__(self, coordinator, worker, tmp_path: Path) -> None:
        self.worker = worker
        self.metadata = coordinator.metadata
        self.artifacts = str(tmp_path / "artifacts")
        self.datasets = datasets_uri(self.artifacts, "default")
        self._stub = DatasetServiceStub(coordinator.channel)
        self._scratch = tmp_path

    async def versions(self):
        reply = await self._stub.ListDatasetVersions(pb.ListDatasetVersionsRequest(), metadata=self.metadata)
        return {found.dataset_version: found for found in reply.dataset_versions}

    async def prune(self, unused_for=timedelta(0), dry_run=False):
        request = pb.PruneDatasetVersionsRequest(unused_for=unused_for, dry_run=dry_run)
        reply = await self._stub.PruneDatasetVersions(request, metadata=self.metadata)
        return [found.dataset_version for found in reply.dataset_versions]

    async def refusal(self, **request):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self._stub.PruneDatasetVersions(pb.PruneDatasetVersionsRequest(**request), metadata=self.metadata)
        return refused.value.code(), refused.value.details()

    async def begin(self):
        """A job whose preprocess is claimed; its id and the stage."""
        job = await self.worker.create_job()
        return job.job_id, (await self.worker.claim(job.job_id, "preprocess")).assignment.stage

    async def end(self, stage, version):
        """The dataset that the stage leaves, and whether it was there already."""
        is_reused, ref = await asyncio.to_thread(self._dataset, version, f"{stage.stage_id}-1-{stage.fence}")
        artifact = Artifact(uri=ref.uri, digest=ref.digest, num_bytes=ref.num_bytes)
        await self.worker.complete(stage, artifact=artifact, result_json=json.dumps({"dataset_version": version}))
        return ref, is_reused

    async def job_with(self, version):
        """A job in flight that has the version."""
        job_id, stage = await self.begin()
        await self.end(stage, version)
        return job_id

    async def cancel(self, job_id):
        await self.worker.jobs.CancelJob(CancelJobRequest(job_id=job_id), metadata=self.metadata)

    def _dataset(self, version, own):
        store = DatasetStore(self.datasets, own, self._scratch / "fetched" / own)
        if (stored := store.find(version)) is not None:
            return True, stored.ref
        folder = self._scratch / "new" / own
        folder.mkdir(parents=True)
        (folder / "train.arrow").write_bytes(b"rows" * 1000)
        return False, store.keep(folder, version)


@pytest.fixture
def keeper(coordinator, worker, tmp_path):
    return Keeper(coordinator, worker, tmp_path)


async def test_a_version_is_kept_while_a_job_in_flight_has_it(keeper):
    assert await keeper.versions() == {}
    first, second = await keeper.job_with(VERSION), await keeper.job_with(VERSION)
    found = (await keeper.versions())[VERSION]
    assert sorted(found.job_ids) == sorted([first, second])
    assert (found.num_datasets, list(found.model_ids)) == (1, [])
    assert found.num_bytes > 4000
    assert found.HasField("last_use_time")
    await keeper.cancel(first)
    assert await keeper.prune() == []
    await keeper.cancel(second)
    assert await keeper.prune(unused_for=timedelta(days=1)) == []
    assert await keeper.prune(dry_run=True) == [VERSION]
    assert set(await keeper.versions()) == {VERSION}
    assert await keeper.prune() == [VERSION]
    assert await keeper.prune() == []
    assert await keeper.versions() == {}
    assert not os.listdir(keeper.datasets)


async def test_a_version_is_kept_as_long_as_a_model_was_trained_on_it(keeper):
    job_id = await keeper.job_with(VERSION)
    for name in ("train", "evaluate", "export", "deploy"):
        await keeper.worker.complete((await keeper.worker.claim(job_id, name)).assignment.stage)
    model_id = (await keeper.worker.get_job(job_id)).model_id
    other = await keeper.job_with(OTHER)
    await keeper.cancel(other)
    assert await keeper.prune() == [OTHER]
    found = (await keeper.versions())[VERSION]
    assert (list(found.model_ids), list(found.job_ids)) == ([model_id], [])


async def test_nothing_goes_while_a_stage_preprocesses(keeper):
    await keeper.cancel(await keeper.job_with(VERSION))
    job_id, stage = await keeper.begin()
    for dry_run in (True, False):
        code, details = await keeper.refusal(unused_for=Duration(), dry_run=dry_run)
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert details.startswith(f"job {job_id} preprocesses just now")
    ref, is_reused = await keeper.end(stage, VERSION)
    assert is_reused
    assert await keeper.prune() == []
    assert fetch(ref.uri, Path(), digest=ref.digest)


async def test_what_a_crash_left_is_deleted_by_the_next_prune(keeper):
    await keeper.cancel(await keeper.job_with(VERSION))
    withdraw(keeper.datasets, VERSION)
    assert await keeper.versions() == {}
    assert os.listdir(keeper.datasets)
    assert await keeper.prune() == []
    assert not os.listdir(keeper.datasets)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "unused_for is not set"),
        ({"unused_for": Duration(seconds=-1)}, "between 0 and 36500 days"),
        ({"unused_for": Duration(seconds=1 << 40)}, "between 0 and 36500 days"),
    ],
)
async def test_a_prune_says_how_long(keeper, request_, message):
    code, details = await keeper.refusal(**request_)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message in details


async def test_a_store_that_cannot_be_written_is_told(keeper, monkeypatch):
    await keeper.cancel(await keeper.job_with(VERSION))

    def refuse(self, target):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    code, details = await keeper.refusal(unused_for=Duration())
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "the artifact store fails: [Errno 13] Permission denied" in details
    assert set(await keeper.versions()) == {VERSION}


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_stage_that_is_claimed_during_a_prune_begins_after_it(keeper, coordinator, monkeypatch, is_cancelled):
    await keeper.cancel(await keeper.job_with(VERSION))
    job = await keeper.worker.create_job()
    has_decided, may_go_on = threading.Event(), threading.Event()

    def slow_withdraw(*args):
        has_decided.set()
        assert may_go_on.wait(60)
        return withdraw(*args)

    monkeypatch.setattr("coordinator.commands.datasets.withdraw", slow_withdraw)
    store = Database(coordinator.database_url)
    prune = prune_dataset_versions(store, keeper.artifacts, "default", timedelta(0), dry_run=False)
    pruning = asyncio.create_task(prune)
    await asyncio.to_thread(has_decided.wait, 60)
    claiming = asyncio.create_task(keeper.worker.claim(job.job_id, "preprocess"))
    database = await asyncpg.connect(coordinator.database_url)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not claiming.done() and not await database.fetchval(waiting):
        pass
    if is_cancelled:
        pruning.cancel()
        for _ in range(50):
            await database.fetchval(waiting)
    await database.close()
    assert not claiming.done()
    assert not pruning.done(), "who is cancelled keeps the lock as long as the store is at work"
    may_go_on.set()
    await asyncio.wait([pruning])
    assert pruning.cancelled() == is_cancelled
    await store.close()
    _, is_reused = await keeper.end((await claiming).assignment.stage, VERSION)
    assert not is_reused


class Race:
    """Jobs find, make and drop versions, while others take out all that they may."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._are_done = False
        self._pause = asyncio.Barrier(NUM_PLAYERS)
        self._has_pruned = asyncio.Condition()
        self.seen: Counter[str] = Counter()

    async def play(self, number):
        for turn in range(NUM_JOBS):
            job_id, stage = await self._keeper.begin()
            await self._get_and_read(job_id, stage, (VERSION, OTHER)[(number + turn) % 2])
            await self._keeper.cancel(job_id)
            if turn % 2:
                await self._pause.wait()
                await self._wait_for_a_prune()

    async def _wait_for_a_prune(self):
        """While nobody plays, so that it is not refused."""
        async with self._has_pruned:
            before = self.seen["prunes"]
            await self._has_pruned.wait_for(lambda: self.seen["prunes"] > before)

    async def _get_and_read(self, job_id, stage, version):
        try:
            ref, is_reused = await self._keeper.end(stage, version)
        except grpc.aio.AioRpcError as error:
            # On a busy machine the lease may be over by now, and what the attempt found is nobody's.
            assert "completed is not legal" in error.details()  # noqa: PT017
            self.seen["fenced out"] += 1
            return
        self.seen["reused" if is_reused else "made"] += 1
        for _ in range(3):
            await asyncio.to_thread(fetch, ref.uri, Path(), digest=ref.digest)
            await self._keeper.worker.get_job(job_id)

    async def prune(self, once):
        """Again and again until the players are done."""
        while not self._are_done:
            try:
                num_pruned = len(await once())
                async with self._has_pruned:
                    self.seen["prunes"] += 1
                    self.seen["pruned"] += num_pruned
                    self._has_pruned.notify_all()
            except ConflictError:
                self.seen["refused"] += 1
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.FAILED_PRECONDITION  # noqa: PT017
                self.seen["refused"] += 1

    async def run(self, *ways):
        async with asyncio.TaskGroup() as pruners:
            for once in ways:
                pruners.create_task(self.prune(once))
            async with asyncio.TaskGroup() as players:
                for number in range(NUM_PLAYERS):
                    players.create_task(self.play(number))
            self._are_done = True


async def test_no_job_ever_loses_the_dataset_that_it_was_given(keeper, coordinator):
    database = Database(coordinator.database_url)
    elsewhere = partial(prune_dataset_versions, database, keeper.artifacts, "default", timedelta(0), dry_run=False)
    race = Race(keeper)
    await race.run(keeper.prune, elsewhere)
    await database.close()
    assert all(race.seen[what] for what in ("made", "reused", "pruned", "refused")), race.seen
