"""What has to hold once it is quiet, whatever was broken before. Each check gives a sentence for every violation."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import nats
import psutil
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ConsumerConfig

from luthier.artifacts import ArtifactError, fetch
from luthier.events import MESSAGE_ID
from luthier.subjects import EVENTS_STREAM
from luthier.v1.event_pb2 import Event
from tests.chaos.cluster import Cluster
from tests.chaos.history import TERMINAL, replay
from tests.chaos.services import until

PAGE = 500
PULL_SECONDS = 2.0
PROJECT = "default"

Rows = Sequence[Mapping[str, Any]]


async def is_quiet(database: asyncpg.Connection) -> bool:
    """Whether every job has ended and every message is out."""
    open_jobs = await database.fetchval("SELECT count(*) FROM job WHERE NOT state = ANY($1)", list(TERMINAL))
    unsent = await database.fetchval("SELECT count(*) FROM outbox WHERE published_time IS NULL AND NOT held")
    return not open_jobs and not unsent


async def wait_until_quiet(cluster: Cluster) -> None:
    """Returns once nothing more will happen by itself."""
    database = await cluster.database()
    try:
        await until(lambda: is_quiet(database), None)
    finally:
        await database.close()


async def read_events(database: asyncpg.Connection) -> list[Event]:
    """The event log of the project, in order."""
    query = "SELECT payload FROM outbox WHERE project_id = $1 AND sequence IS NOT NULL ORDER BY sequence"
    return [Event.FromString(row["payload"]) for row in await database.fetch(query, PROJECT)]


async def violations(cluster: Cluster, accepted: Iterable[str]) -> list[str]:
    """Every promise that was broken; `accepted` are the jobs that the platform has said it has."""
    database = await cluster.database()
    try:
        jobs = await database.fetch("SELECT * FROM job")
        stages = await database.fetch("SELECT * FROM stage ORDER BY job_id, position")
        events = await read_events(database)
        checkpoints = await database.fetch("SELECT uri, digest FROM checkpoint")
        artifacts = await database.fetch(
            "SELECT outputs->'artifact'->>'uri' AS uri, outputs->'artifact'->>'digest' AS digest FROM stage "
            "WHERE outputs->'artifact' IS NOT NULL"
        )
        held = await database.fetchval("SELECT count(*) FROM outbox WHERE held OR published_time IS NULL")
        dead = await database.fetch("SELECT source, reason FROM dead_letter")
        alive = await database.fetch(
            "SELECT stage_id FROM stage WHERE state = 'RUNNING' AND lease_until < clock_timestamp()"
        )
    finally:
        await database.close()
    key = cluster.home.secrets().checkpoint_key.encode()
    return [
        *_lost(jobs, accepted),
        *_log(events),
        *_told(jobs, stages, events),
        *(f"stage {row['stage_id']} is RUNNING without a lease" for row in alive),
        *([f"{held} messages of the outbox were never published"] if held else []),
        *(f"a dead letter of {row['source']}: {row['reason']}" for row in dead),
        *await asyncio.to_thread(_unverified, artifacts, None),
        *await asyncio.to_thread(_unverified, checkpoints, key),
        *await _stream(cluster, events),
        *_orphans(cluster),
        *_own_exits(cluster),
    ]


def _lost(jobs: Rows, accepted: Iterable[str]) -> Iterator[str]:
    states = {row["job_id"]: row["state"] for row in jobs}
    for job_id in accepted:
        if job_id not in states:
            yield f"job {job_id} was accepted and is lost"
    for job_id, state in states.items():
        if state not in TERMINAL:
            yield f"job {job_id} has not ended: it is {state}"


def _log(events: Sequence[Event]) -> Iterator[str]:
    sequences = [event.sequence for event in events]
    if sequences != list(range(1, len(events) + 1)):
        yield f"the sequence of {len(events)} events is not dense: {_gaps(sequences)}"
    for event_id, count in Counter(event.event_id for event in events).items():
        if count > 1:
            yield f"event {event_id} is in the log {count} times"


def _told(jobs: Rows, stages: Rows, events: Sequence[Event]) -> Iterator[str]:
    """The log against the rows."""
    told = replay(events)
    for row in jobs:
        story = told.jobs.get(row["job_id"])
        if story is None or story.state != row["state"] or story.num_ends != 1:
            yield f"job {row['job_id']} is {row['state']}, and the log tells {story}"
    for row in stages:
        story = told.stages.get(row["stage_id"])
        if story is None or story.num_ends != 1 or story.num_successes > 1:
            yield f"stage {row['stage_id']} is {row['state']}, and the log tells {story}"
        elif (story.state, story.attempt, (story.fences or [0])[-1]) != (row["state"], row["attempt"], row["fence"]):
            yield f"stage {row['stage_id']} is {row['state']} with fence {row['fence']}, and the log tells {story}"
        elif any(later <= earlier for earlier, later in pairwise(story.fences)):
            yield f"the fences of stage {row['stage_id']} do not rise: {story.fences}"


def _unverified(rows: Rows, key: bytes | None) -> list[str]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            try:
                fetch(row["uri"], Path(folder), digest=row["digest"], key=key)
            except ArtifactError as error:
                found.append(f"what a row names does not verify: {error}")
    return found


async def _stream(cluster: Cluster, events: Sequence[Event]) -> list[str]:
    """The stream EVENTS against the log."""
    ids = await published_events(cluster)
    wanted = [event.event_id for event in events]
    found = []
    if missing := set(wanted) - set(ids):
        numbers = sorted(event.sequence for event in events if event.event_id in missing)
        found.append(f"{len(missing)} events are not in the stream: {numbers[:10]}")
    if repeated := [event_id for event_id, count in Counter(ids).items() if count > 1]:
        found.append(f"{len(repeated)} events are in the stream more than once: {repeated[:3]}")
    if unknown := set(ids) - set(wanted):
        found.append(f"{len(unknown)} events of the stream are not in the log: {sorted(unknown)[:3]}")
    return found


async def published_events(cluster: Cluster) -> list[str]:
    """Ids of the messages in the stream EVENTS, in its order."""
    ids: list[str] = []
    async with asyncio.timeout(60), await nats.connect(cluster.nats_url) as client:
        jetstream = client.jetstream()
        num_messages = (await jetstream.stream_info(EVENTS_STREAM)).state.messages
        reader = await jetstream.pull_subscribe("", stream=EVENTS_STREAM, config=ConsumerConfig(ack_policy="none"))
        while len(ids) < num_messages:
            try:
                messages = await reader.fetch(min(PAGE, num_messages - len(ids)), timeout=PULL_SECONDS)
            except NatsTimeoutError:
                break
            ids += [(message.headers or {})[MESSAGE_ID] for message in messages]
    return ids


def _orphans(cluster: Cluster) -> Iterator[str]:
    """Runners of this platform whose worker is gone."""
    workers = {cluster.services[name].pid for name in cluster.shape.workers}
    home = str(cluster.home.path)
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if "workers.runner" in command and home in " ".join(command) and process.ppid() not in workers:
                yield f"runner {process.pid} has no worker any more: {command[-1]}"
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _own_exits(cluster: Cluster) -> Iterator[str]:
    """Our programs end when they are killed, and never by themselves."""
    for service in cluster.services.values():
        if service.name not in ("postgres", "nats") and service.own_exits:
            yield f"{service.name} ended by itself with status {service.own_exits}"


def _gaps(sequences: Sequence[int]) -> str:
    return ", ".join(f"{earlier} then {later}" for earlier, later in pairwise(sequences) if later != earlier + 1)[:200]
