"""Ids and the names on the bus: what is refused never reaches a subject."""

import pytest

from luthier.ids import check_id, is_id, new_id
from luthier.subjects import event_subject, stage_consumer, stage_filter, stage_subject


def test_new_ids_are_well_formed_distinct_and_sort_by_age() -> None:
    ids = [new_id("job") for _ in range(500)]
    assert len(set(ids)) == 500
    assert all(is_id(one) and one.startswith("job_") for one in ids)
    assert ids[0][:12] <= ids[-1][:12]


@pytest.mark.parametrize(
    "text", ["", "a b", "a.b", "a*", ">", "a\r\nPUB x", "ä", "x" * 65, "../up", "a\n"], ids=lambda text: repr(text)[:20]
)
def test_what_is_no_id_is_refused_in_every_place_of_a_subject(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(ValueError, match="is not an id"):
        check_id(text)
    for build in (
        lambda: event_subject(text, "created", "default", "job_1"),
        lambda: event_subject("job", text, "default", "job_1"),
        lambda: event_subject("job", "created", text, "job_1"),
        lambda: stage_subject("train", "cpu", text),
        lambda: stage_subject(text, "cpu", "job_1"),
        lambda: stage_filter("train", text),
        lambda: stage_consumer(text, "cpu"),
    ):
        with pytest.raises(ValueError, match="is not an id"):
            build()


def test_subjects_go_from_general_to_specific() -> None:
    assert event_subject("stage", "succeeded", "default", "job_1") == "luthier.event.stage.succeeded.default.job_1"
    assert event_subject("worker", "lost", "default", "") == "luthier.event.worker.lost.default.-"
    assert stage_subject("train", "gpu", "job_1") == "luthier.stage.train.gpu.job_1"
    assert stage_filter("train", "gpu") == "luthier.stage.train.gpu.*"
    assert stage_consumer("train", "gpu") == "train-gpu"
