"""Columns, keys and roles under names of the user's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.spec import SftSpec
from workers.data.dataset import load_split
from workers.data.shapes import Names
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}


def test_columns_keys_and_roles_may_have_other_names(write_rows: Write, run: Run) -> None:
    dialog = [{"speaker": "customer", "says": "hello"}, {"speaker": "agent", "says": "world"}]
    path = write_rows([{"dialog": dialog, "messages": "not these", "sys": "x"}] * 2)
    settings = {
        "columns": {"messages": "dialog"},
        "message_keys": {"role": "speaker", "content": "says"},
        "roles": {"user": ["customer"], "assistant": ["agent", "bot"]},
    }
    folder, outcome = run(path, **settings, **WHOLE)
    (example,) = load_split(folder, "train")
    assert example.messages == [USER, ANSWER]
    assert outcome.files[0].shape == "chat"
    with pytest.raises(DataError, match=r"message 1 has role 'customer'; expected system, user, assistant, tool"):
        run(path, **{**settings, "roles": {}}, **WHOLE)
    with pytest.raises(DataError, match=r"columns found: dialog, messages, sys; data\.format text expects text"):
        run(path, **settings, format="text", **WHOLE)


def test_a_column_may_be_left_out(write_rows: Write, run: Run) -> None:
    rows = [{"instruction": f"hello {number}", "input": "noise", "output": "world"} for number in range(2)]
    folder, _ = run(write_rows(rows), columns={"input": None}, **WHOLE)
    assert [example.prompt[0]["content"] for example in load_split(folder, "train")] == ["hello 0", "hello 1"]


def test_a_source_may_have_names_of_its_own(tmp_path: Path, write_rows: Write, run: Run) -> None:
    from luthier.spec import DataSpec
    from workers.data.parts import parts_of

    document = {
        "columns": {"prompt": "q"},
        "sources": [
            {"name": "a", "path": "a.jsonl"},
            {"name": "b", "path": "b.jsonl", "columns": {"completion": "a"}, "roles": {"user": ["me"]}},
        ],
    }
    first, second = parts_of(DataSpec.model_validate_json(json.dumps(document)), SftSpec())
    assert (first.names, second.names) == (Names({"prompt": "q"}), Names({"completion": "a"}, {}, {"user": ["me"]}))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"columns": {"prompt": "a", "completion": "a"}}, "prompt and completion are both to be 'a'"),
        ({"columns": {"promt": "a"}}, "promt"),
        ({"roles": {"user": ["x"], "assistant": ["x"]}}, "are both to be 'x'"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(section: dict[str, Any], message: str) -> None:
    from pydantic import ValidationError

    from luthier.spec import DataSpec

    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate_json(json.dumps({"path": "x", **section}))
