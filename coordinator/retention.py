"""Which versions of datasets may go. Pure: from rows and from what the store has.

Deny by default. A version is kept while a job in flight has got it, as long as a model that was trained on it is there,
and if nobody knows when it was used last. What a stage of preprocessing is about to use nobody knows before it ends:
while one runs, nothing of its project goes.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from coordinator.graph import JOB_TERMINAL, JobState
from luthier.dataset_versions import VERSION_PREFIX, StoredVersion

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DatasetUse:
    """A stage of preprocessing that has ended well: its job got a dataset."""

    job_id: str
    job_state: JobState
    time: datetime
    versions: frozenset[str]
    """Whatever could be one, in the place and the description of its outputs."""


@dataclass(frozen=True)
class TrainedModel:
    """A model, and what it was trained on."""

    model_id: str
    job_id: str
    version: str
    """Empty where nobody noted it."""


@dataclass(frozen=True)
class KnownVersion:
    """A version in the store, and who has it."""

    stored: StoredVersion
    last_use_time: datetime | None
    job_ids: tuple[str, ...]
    """In flight."""
    model_ids: tuple[str, ...]

    def may_go(self, unused_since: datetime) -> bool:
        """Whether nobody has it, nor had it after `unused_since`."""
        is_used = bool(self.job_ids or self.model_ids)
        return not is_used and self.last_use_time is not None and self.last_use_time <= unused_since


def versions_in(*texts: str) -> frozenset[str]:
    """Everything in `texts` that could be a version."""
    return frozenset(f"{VERSION_PREFIX}{found}" for text in texts for found in _HEX.findall(text))


def describe(
    stored: Iterable[StoredVersion], uses: Sequence[DatasetUse], models: Collection[TrainedModel]
) -> list[KnownVersion]:
    """What is known of each version, those used last first, then those of which nobody knows when."""
    known = [
        _described(version, [use for use in uses if version.version in use.versions], models) for version in stored
    ]
    dated = [version for version in known if version.last_use_time is not None]
    dated.sort(key=lambda version: (version.last_use_time, version.stored.version), reverse=True)
    return dated + [version for version in known if version.last_use_time is None]


def _described(version: StoredVersion, uses: Sequence[DatasetUse], models: Collection[TrainedModel]) -> KnownVersion:
    jobs = {use.job_id for use in uses}
    times = [use.time for use in uses]
    # A store that cannot date what it has leaves only what the rows say, and without rows nothing.
    times += [version.written_time] if version.written_time is not None else []
    return KnownVersion(
        stored=version,
        last_use_time=max(times, default=None),
        job_ids=tuple(sorted({use.job_id for use in uses if use.job_state not in JOB_TERMINAL})),
        model_ids=tuple(
            sorted(model.model_id for model in models if model.version == version.version or model.job_id in jobs)
        ),
    )
