"""What an objective allows elsewhere in the job file."""

import json
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import parse_spec

DATA = {"path": "rows.jsonl"}


def _parse(**changes: Any) -> Any:
    return parse_spec(json.dumps({"name": "job", "base_model": "m", "data": DATA, **changes}))


def test_only_pre_training_splits_long_rows() -> None:
    data = {**DATA, "overlong": "split"}
    assert _parse(data=data, objective={"type": "pretrain"}).data.overlong == "split"
    with pytest.raises(InvalidSpecError, match=r"data\.overlong is split.*drop or truncate"):
        _parse(data=data)


def test_the_last_answers_alone_may_be_learned() -> None:
    assert _parse(objective={"train_on": "last"}).objective.describe().endswith("last answers")
    assert _parse().objective.train_on == "all"
