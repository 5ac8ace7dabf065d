"""The names on the bus: streams, subjects and durable consumers. No subject is built anywhere else.

Every variable token passes `check_id`, because nats-py does not refuse spaces or line breaks in a subject.
How streams and consumers are configured stands here too, as plain values, so that the coordinator (which makes the
streams) and the workers (which make the consumers) agree without this module importing the broker's client.
"""

import re
from typing import Any

from luthier.ids import check_id

EVENTS_STREAM = "EVENTS"
STAGES_STREAM = "STAGES"

EVENTS_WILDCARD = "luthier.event.>"
STAGES_WILDCARD = "luthier.stage.>"
_SUBJECT = re.compile(r"luthier\.(event|stage)(\.[A-Za-z0-9_-]{1,64})+")

# Arguments of `nats.js.api.StreamConfig`, by stream name; times in seconds.
STREAMS: dict[str, dict[str, Any]] = {
    EVENTS_STREAM: {
        "subjects": [EVENTS_WILDCARD],
        "retention": "limits",
        "storage": "file",
        "max_age": 30 * 86_400.0,
        "duplicate_window": 120.0,
    },
    # Wake-ups are repeated by the reconciler while nobody claims, so old ones are dropped.
    STAGES_STREAM: {
        "subjects": [STAGES_WILDCARD],
        "retention": "workqueue",
        "storage": "file",
        "max_age": 300.0,
        "duplicate_window": 120.0,
    },
}

# Arguments of `nats.js.api.ConsumerConfig` of every stage consumer, besides its name and filter. A wake-up is
# acknowledged right after the claim, so nothing is pending for long: what was given to a worker that froze comes again
# soon, for another one, and a second claim does no harm. The tries are counted in PostgreSQL, because a message that
# has used up `max_deliver` stays in the stream and never comes again. No `backoff`: its first value would silently
# replace `ack_wait`. Above `max_ack_pending` delivery stops without a word: it has to exceed the workers.
STAGE_CONSUMER: dict[str, Any] = {
    "ack_policy": "explicit",
    "ack_wait": 10.0,
    "max_deliver": -1,
    "max_ack_pending": 1000,
}


def event_subject(entity: str, fact: str, project_id: str, job_id: str) -> str:
    """`luthier.event.<entity>.<fact>.<project>.<job>`; `job_id` is `-` for facts that belong to no job."""
    tokens = (check_id(entity, "entity"), check_id(fact, "fact"), check_id(project_id, "project id"))
    return f"luthier.event.{'.'.join(tokens)}.{check_id(job_id or '-', 'job id')}"


def job_events_filter(project_id: str, job_id: str) -> str:
    """What a worker that runs a stage of the job listens to: facts about the job itself, none about its stages."""
    return f"luthier.event.job.*.{check_id(project_id, 'project id')}.{check_id(job_id, 'job id')}"


def stage_subject(kind: str, worker_class: str, job_id: str) -> str:
    """`luthier.stage.<kind>.<class>.<job>`: the subject of "stage S is ready"."""
    return f"{_stage_prefix(kind, worker_class)}.{check_id(job_id, 'job id')}"


def is_subject(text: str) -> bool:
    """Whether `text` can have been built here, so that one of our streams listens to it."""
    return _SUBJECT.fullmatch(text) is not None


def job_of_subject(subject: str) -> str:
    """The job that the subject of a wake-up names; empty when it is no such subject."""
    tokens = subject.split(".")
    return tokens[-1] if tokens[:2] == ["luthier", "stage"] and len(tokens) == 5 else ""


def stage_filter(kind: str, worker_class: str) -> str:
    """What the durable consumer of one stage kind and worker class listens to."""
    return f"{_stage_prefix(kind, worker_class)}.*"


def stage_consumer(kind: str, worker_class: str) -> str:
    """Durable name of that consumer; KEDA scales on its lag."""
    return f"{check_id(kind, 'stage kind')}-{check_id(worker_class, 'worker class')}"


def _stage_prefix(kind: str, worker_class: str) -> str:
    return f"luthier.stage.{check_id(kind, 'stage kind')}.{check_id(worker_class, 'worker class')}"
