"""The event log, read: what it says of every stage and job, and how long it took to recover. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from luthier.events import fact_of
from luthier.v1.event_pb2 import Event

# What an event makes of the stage or job that it names.
STAGE_STATES = {
    "stage_queued": "QUEUED",
    "stage_started": "RUNNING",
    "stage_succeeded": "SUCCEEDED",
    "stage_failed": "FAILED",
    "stage_skipped": "SKIPPED",
    "stage_cancelled": "CANCELLED",
    "stage_retried": "QUEUED",
    "stage_paused": "PAUSED",
}
JOB_STATES = {
    "job_created": "PENDING",
    "job_started": "RUNNING",
    "job_succeeded": "SUCCEEDED",
    "job_failed": "FAILED",
    "job_cancelled": "CANCELLED",
    "job_paused": "PAUSED",
}
TERMINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"})


@dataclass
class Story:
    """What the log tells of one stage or job."""

    state: str = "PENDING"
    attempt: int = 0
    fences: list[int] = field(default_factory=list)
    num_ends: int = 0
    """How often it came to a terminal state."""
    num_successes: int = 0


@dataclass
class Histories:
    """What the log tells of all of them, by id."""

    stages: dict[str, Story] = field(default_factory=dict)
    jobs: dict[str, Story] = field(default_factory=dict)


def replay(events: Iterable[Event]) -> Histories:
    """Applies a project's events in order."""
    told = Histories()
    for event in events:
        kind = "_".join(fact_of(event))
        if kind in JOB_STATES:
            _enter(told.jobs.setdefault(event.job_id, Story()), JOB_STATES[kind])
        if kind in STAGE_STATES:
            fact = getattr(event, kind)
            story = told.stages.setdefault(fact.stage_id, Story())
            _enter(story, STAGE_STATES[kind])
            if kind == "stage_started":
                story.attempt = fact.attempt
                story.fences.append(fact.fence)
    return told


def recoveries(events: Sequence[Event], kills: Iterable[tuple[float, str]]) -> list[float]:
    """Seconds from the kill of a worker to the next start of the stage that it held; one for each such kill.

    `kills`: moment (Unix time) and worker id. Kills that hit no attempt, and stages never started again, are left out.
    """
    found = []
    for moment, worker_id in kills:
        for starts in _attempts(events).values():
            for (began, ended, holder), following in pairwise(starts):
                if holder == worker_id and began <= moment < ended:
                    found.append(following[0] - moment)
    return found


def _attempts(events: Sequence[Event]) -> Mapping[str, list[tuple[float, float, str]]]:
    """Start, end and worker of every attempt, by stage; Unix times."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for event in events:
        kind = "_".join(fact_of(event))
        if kind not in STAGE_STATES:
            continue
        moment = event.time.ToNanoseconds() / 1e9
        fact = getattr(event, kind)
        attempts = found.setdefault(fact.stage_id, [])
        if kind == "stage_started":
            attempts.append((moment, float("inf"), fact.worker_id))
        elif attempts and attempts[-1][1] == float("inf"):
            attempts[-1] = (attempts[-1][0], moment, attempts[-1][2])
    return found


def _enter(story: Story, state: str) -> None:
    story.state = state
    story.num_ends += state in TERMINAL
    story.num_successes += state == "SUCCEEDED"
