"""What users do meanwhile: submit jobs, cancel some, follow the event log. Nothing that was promised is forgotten."""

import asyncio
import json
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from luthier.client import Event
from luthier.client.aio import AsyncClient
from luthier.errors import ConflictError, DeadlineError, InternalError, UnavailableError
from tests.chaos.cluster import Cluster

# The caller may ask again.
AGAIN = (UnavailableError, DeadlineError, InternalError)
AGAIN_SECONDS = 0.3
READ_ON_SECONDS = (1.0, 6.0)
ENDS = frozenset({"job_succeeded", "job_failed", "job_cancelled"})
CATCH_UP_SECONDS = 60.0
REAL_STEPS = 40
# How often each is drawn. A `doomed` job is cancelled at once, a `held` one is paused for a while.
KINDS = ("noop",) * 6 + ("flaky",) * 2 + ("doomed", "held")
HELD_SECONDS = (0.0, 2.0)

T = TypeVar("T")


class Follower:
    """A subscriber that is cut off again and again, and goes on from the last event it saw."""

    def __init__(self, cluster: Cluster) -> None:
        self.seen: list[Event] = []
        self.num_resumed = 0
        self._cluster = cluster
        self._has_seen = asyncio.Event()

    @property
    def ended(self) -> set[str]:
        """Jobs that it knows to have ended."""
        return {event.job_id for event in self.seen if event.kind in ENDS and event.job_id}

    async def run(self, chance: random.Random) -> None:
        """Follows for ever."""
        while True:
            async with self._cluster.client() as client:
                with suppress(TimeoutError, *AGAIN):
                    async with asyncio.timeout(chance.uniform(*READ_ON_SECONDS)):
                        await self._read(client)
            self.num_resumed += 1
            await asyncio.sleep(AGAIN_SECONDS)

    async def wait(self) -> None:
        """Returns once it has seen another event."""
        self._has_seen.clear()
        await self._has_seen.wait()

    async def misses(self) -> list[str]:
        """What it has not seen once and in order, now that nothing more happens."""
        database = await self._cluster.database()
        try:
            last = await database.fetchval("SELECT max(sequence) FROM outbox")
        finally:
            await database.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while not self.seen or self.seen[-1].sequence < last:
                    await self.wait()
        seen = [event.sequence for event in self.seen]
        in_order = seen == list(range(1, last + 1))
        return [] if in_order else [f"the subscriber saw {len(seen)} events of {last}, or not in order"]

    async def _read(self, client: AsyncClient) -> None:
        after = self.seen[-1].sequence if self.seen else 0
        async for event in client.events(after=after, follow=True):
            self.seen.append(event)
            self._has_seen.set()


class Users:
    """People who keep a number of jobs open, and remember every job that was promised to them."""

    def __init__(self, cluster: Cluster, chance: random.Random, model: Path | None = None) -> None:
        """`model` is a base model for jobs of real stages; None: there are none."""
        self.cluster = cluster
        self.follower = Follower(cluster)
        self.accepted: dict[str, str] = {}
        """Name by id of every job that CreateJob has answered for."""
        self._chance = chance
        self._model = model
        self._data = _write_data(cluster.home.path)
        self._following: asyncio.Task[None] | None = None
        self._submitting: asyncio.Task[None] | None = None
        self._is_enough = False

    def start(self, *, num_open: int, real_every: int = 10) -> None:
        """Begins to follow the events and to keep `num_open` jobs open; every `real_every`th has real stages."""
        self._following = asyncio.create_task(self.follower.run(self._chance))
        self._submitting = asyncio.create_task(self._submit_on(num_open, real_every))

    async def submit_no_more(self) -> None:
        """Returns once nobody submits, cancels or holds a job any more; what is open goes on.

        Raises:
            LuthierError: the platform refused something that it has to do.
        """
        assert self._submitting is not None, "start first"
        self._is_enough = True
        await self._submitting

    async def stop(self) -> None:
        """Ends all of it."""
        tasks = [task for task in (self._following, self._submitting) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, client: AsyncClient, name: str) -> str:
        """Submits a job, again and again with one request id until somebody answers; returns its id."""
        request_id = uuid.uuid4().hex
        job = await answered(lambda: client.submit(self._spec(name), request_id=request_id))
        self.accepted[job.id] = name
        return job.id

    async def cancel(self, client: AsyncClient, job_id: str) -> None:
        """Cancels a job, unless it has ended."""
        with suppress(ConflictError):
            await answered(lambda: client.cancel(job_id))

    async def hold(self, client: AsyncClient, job_id: str) -> None:
        """Pauses a job and resumes it a little later, unless it has ended."""
        with suppress(ConflictError):
            await answered(lambda: client.pause(job_id))
            await asyncio.sleep(self._chance.uniform(*HELD_SECONDS))
            await answered(lambda: client.resume(job_id))

    async def _submit_on(self, num_open: int, real_every: int) -> None:
        then = {"doomed": self.cancel, "held": self.hold}
        async with self.cluster.client() as client, asyncio.TaskGroup() as tasks:
            for number in count():
                while len(self.accepted) - len(self.follower.ended) >= num_open and not self._is_enough:
                    await self.follower.wait()
                if self._is_enough:
                    return
                kind = self._chance.choice(KINDS) if self._model is None or number % real_every else "real"
                job_id = await self.submit(client, f"{kind}-{number}")
                if kind in then:
                    tasks.create_task(then[kind](client, job_id))

    def _spec(self, name: str) -> Mapping[str, Any]:
        return {
            "name": name,
            "base_model": str(self._model) if name.startswith("real") else "tiny",
            "data": {"path": str(self._data), "max_length": 64},
            "training": {"max_steps": REAL_STEPS, "save_steps": 5, "eval_steps": REAL_STEPS, "pack_length": 128},
            "evaluation": {"max_new_tokens": 2, "max_samples": 2, "num_bootstrap": 100, "metrics": ["perplexity"]},
            "resources": {"max_attempts": 100},
        }


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, however often it takes to ask."""
    while True:
        with suppress(*AGAIN):
            return await call()
        await asyncio.sleep(AGAIN_SECONDS)


def _write_data(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"say {n}", "completion": f"{n} the fox"}) + "\n" for n in range(60)))
    return path
