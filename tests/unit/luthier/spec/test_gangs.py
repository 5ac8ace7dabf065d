"""`resources.num_workers`: how many share the training, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from luthier.spec import JobSpec

PLAIN: dict[str, Any] = {"name": "job", "base_model": "tiny", "data": {"path": "/data.jsonl"}}


def job(**sections: Any) -> JobSpec:
    return JobSpec.model_validate(PLAIN | sections)


def test_a_training_is_of_one_worker_unless_asked_otherwise() -> None:
    resources = job().resources
    assert (resources.num_workers, resources.fewest_workers) == (1, 1)


def test_all_workers_are_needed_unless_fewer_are_enough() -> None:
    assert job(resources={"num_workers": 4}).resources.fewest_workers == 4
    assert job(resources={"num_workers": 4, "min_workers": 2}).resources.fewest_workers == 2


def test_more_than_all_cannot_be_enough() -> None:
    with pytest.raises(ValidationError, match=r"min_workers \(3\) is more than num_workers \(2\)"):
        job(resources={"num_workers": 2, "min_workers": 3})


def test_ranks_on_other_workers_count_too() -> None:
    spiel = {"type": "spiel", "selection": "accumulated_gradient"}
    assert job(method=spiel).resources.most_ranks == 1
    with pytest.raises(ValidationError, match="before the 2 ranks"):
        job(method=spiel, resources={"num_workers": 2})
