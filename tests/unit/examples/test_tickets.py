"""The tickets on disk are what the generator writes, and the test split is unseen."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from luthier.spec import load_job_file

FOLDER = Path(__file__).parents[3] / "examples" / "tickets"


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    """`generate.py`, imported from its folder."""
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("tickets_generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))
    del sys.modules["phrases"]


def rows(split: str) -> list[dict]:
    return [json.loads(line) for line in (FOLDER / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_files_are_what_the_generator_writes(generator: ModuleType) -> None:
    assert generator.build() == {split: rows(split) for split in ("train", "validation", "test")}


def test_splits_share_neither_wording_nor_combination(generator: ModuleType) -> None:
    generator.check()


def test_the_check_notices_a_shared_wording(generator: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    actions = generator.ACTIONS
    leaked = actions["call"]._replace(test=actions["call"].train[:1])
    monkeypatch.setitem(actions, "call", leaked)
    with pytest.raises(AssertionError, match="please call me"):
        generator.check()


def test_no_training_problem_stands_in_a_test_ticket(generator: ModuleType) -> None:
    problems = [phrase for issue in generator.ISSUES.values() for phrase in issue.phrases.train]
    longest_parts = [max(phrase.split("{p}"), key=len).strip().lower() for phrase in problems]
    for row in rows("test"):
        text = row["messages"][0]["content"].lower()
        assert not [part for part in longest_parts if len(part) > 25 and part in text]


def test_every_answer_has_the_four_fields_with_known_values(generator: ModuleType) -> None:
    values = {
        "category": {issue.category for issue in generator.ISSUES.values()},
        "priority": set(generator.PRIORITIES),
        "product": set(generator.PRODUCTS),
        "action": set(generator.ACTIONS),
    }
    for split in ("train", "validation", "test"):
        for row in rows(split):
            answer = json.loads(row["messages"][1]["content"])
            assert list(answer) == list(values)
            assert all(answer[field] in allowed for field, allowed in values.items())


def test_system_prompt_names_every_allowed_value(generator: ModuleType) -> None:
    prompt = load_job_file(FOLDER / "job.yaml").data.system_prompt or ""
    named = [*generator.ACTIONS, *generator.PRIORITIES, *{issue.category for issue in generator.ISSUES.values()}]
    assert not [value for value in named if value not in prompt]
