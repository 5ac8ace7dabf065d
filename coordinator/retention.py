"""Which versions of datasets may go. Pure: from rows and from what the store has.

Deny by default. A version is kept while a job in flight has got it, as long as a model that was trained on it is there,
and if nobody knows when it was used last. What a stage of preprocessing is about to use nobody knows before it ends:
while one runs, nothing of its project goes.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
    stored: Iterable[StoredVersion], uses: Iterable[DatasetUse], models: Iterable[TrainedModel]
) -> list[KnownVersion]:
    """What is known of each version, those used last first, then those of which nobody knows when."""
    uses_of: defaultdict[str, list[DatasetUse]] = defaultdict(list)
    for use in uses:
        for version in use.versions:
            uses_of[version].append(use)
    models_of: defaultdict[str, set[str]] = defaultdict(set)
    for model in models:
        models_of[model.version].add(model.model_id)
        models_of[model.job_id].add(model.model_id)
    known = [_described(version, uses_of[version.version], models_of) for version in stored]
    dated = [version for version in known if version.last_use_time is not None]
    dated.sort(key=lambda version: (version.last_use_time, version.stored.version), reverse=True)
    return dated + [version for version in known if version.last_use_time is None]


def _described(version: StoredVersion, uses: Sequence[DatasetUse], models_of: Mapping[str, set[str]]) -> KnownVersion:
    """`models_of` are models by the version and by the job that they are from."""
    times = [use.time for use in uses]
    # A store that cannot date what it has leaves only what the rows say, and without rows nothing.
    times += [version.written_time] if version.written_time is not None else []
    origins = {version.version, *(use.job_id for use in uses)}
    return KnownVersion(
        stored=version,
        last_use_time=max(times, default=None),
        job_ids=tuple(sorted({use.job_id for use in uses if use.job_state not in JOB_TERMINAL})),
        model_ids=tuple(sorted({model_id for origin in origins for model_id in models_of.get(origin, ())})),
    )
