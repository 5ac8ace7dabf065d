"""Which versions may go, case by case."""

from datetime import UTC, datetime, timedelta

import pytest

from coordinator.graph import JobState
from coordinator.retention import DatasetUse, TrainedModel, describe, versions_in
from luthier.dataset_versions import StoredVersion

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OLD, RECENT = NOW - timedelta(days=40), NOW - timedelta(days=3)
SINCE = NOW - timedelta(days=30)
VERSION, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def stored(version=VERSION, written=OLD):
    return StoredVersion(version, 1, 100, written)


def use(state=JobState.SUCCEEDED, time=OLD, version=VERSION, job_id="job_1"):
    return DatasetUse(job_id, state, time, frozenset({version}))


@pytest.mark.parametrize(
    ("written", "uses", "models", "may_go"),
    [
        (OLD, [], [], True),
        (OLD, [use()], [], True),
        (OLD, [use(JobState.FAILED), use(JobState.CANCELLED)], [], True),
        (None, [use()], [], True),
        (RECENT, [use()], [], False),
        (OLD, [use(), use(time=RECENT, job_id="job_2")], [], False),
        (None, [], [], False),
        (OLD, [use(JobState.PENDING)], [], False),
        (OLD, [use(JobState.RUNNING)], [], False),
        (OLD, [use(JobState.PAUSED)], [], False),
        (OLD, [use(), use(JobState.RUNNING, job_id="job_2")], [], False),
        (OLD, [use(JobState.RUNNING, version=OTHER)], [], True),
        (OLD, [use()], [TrainedModel("mdl_1", "job_1", VERSION)], False),
        (OLD, [], [TrainedModel("mdl_1", "job_9", VERSION)], False),
        (OLD, [use()], [TrainedModel("mdl_1", "job_1", "")], False),
        (OLD, [use()], [TrainedModel("mdl_1", "job_9", OTHER)], True),
    ],
)
def test_what_somebody_has_is_kept(written, uses, models, may_go):
    (known,) = describe([stored(written=written)], uses, models)
    assert known.may_go(SINCE) == may_go


def test_who_has_it_is_told_and_the_last_used_come_first():
    uses = [use(JobState.RUNNING, RECENT, OTHER, "job_2"), use(JobState.PAUSED, OLD, OTHER, "job_3"), use()]
    models = [TrainedModel("mdl_1", "job_1", VERSION)]
    unknown = "sha256:" + "c" * 64
    known = describe([stored(unknown, None), stored(), stored(OTHER)], uses, models)
    assert [version.stored.version for version in known] == [OTHER, VERSION, unknown]
    assert (known[0].last_use_time, known[0].job_ids, known[0].model_ids) == (RECENT, ("job_2", "job_3"), ())
    assert (known[1].job_ids, known[1].model_ids) == ((), ("mdl_1",))


def test_versions_are_found_in_places_and_descriptions():
    place = f"/artifacts/default/datasets/{'a' * 64}/stg-1-1"
    assert versions_in(place, f'{{"dataset_version": "{OTHER}"}}') == {VERSION, OTHER}
    assert versions_in("/artifacts/default/job_1/preprocess/1-1", "{}") == frozenset()
