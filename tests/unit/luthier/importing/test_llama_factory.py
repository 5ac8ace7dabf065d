"""`dataset_info.json` of LLaMA-Factory: the entries of its documentation and demos, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidRequestError
from luthier.importing import Imported, import_datasets

TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def imported(tmp_path: Path, entry: dict[str, Any]) -> Imported:
    path = tmp_path / "dataset_info.json"
    path.write_text(json.dumps({"demo": entry}))
    return import_datasets(path)


@pytest.mark.parametrize(
    ("entry", "data", "objective"),
    [
        (
            {"file_name": "demo.json"},
            {"path": "demo.json", "format": "alpaca", "columns": {"system": None, "history": None}},
            None,
        ),
        (
            {
                "file_name": "demo.json",
                "columns": {"prompt": "q", "query": "more", "response": "a", "system": "sys", "history": "before"},
            },
            {
                "path": "demo.json",
                "format": "alpaca",
                "columns": {"instruction": "q", "input": "more", "output": "a", "system": "sys", "history": "before"},
            },
            None,
        ),
        (
            {"file_name": "demo.json", "columns": {"prompt": "instruction", "response": "output"}},
            {
                "path": "demo.json",
                "format": "prompt_completion",
                "columns": {"prompt": "instruction", "completion": "output", "tools": None},
            },
            None,
        ),
        (
            {"file_name": "c4.jsonl", "columns": {"prompt": "body"}},
            {"path": "c4.jsonl", "format": "text", "columns": {"text": "body"}},
            "pretrain",
        ),
        (
            {
                "hf_hub_url": "org/set",
                "formatting": "sharegpt",
                "columns": {"messages": "conversations", "tools": "tools"},
            },
            {"path": "hf://datasets/org/set?split=train", "format": "sharegpt", "columns": {"system": None}},
            None,
        ),
        (
            {
                "hf_hub_url": "org/set",
                "revision": "v1",
                "subset": "en",
                "split": "train_sft",
                "formatting": "sharegpt",
                "columns": {"messages": "messages", "system": "sys"},
                "tags": {**TAGS, "system_tag": "system"},
            },
            {
                "path": "hf://datasets/org/set@v1?config=en&split=train_sft",
                "format": "sharegpt",
                "columns": {"conversations": "messages", "system": "sys", "tools": None},
            },
            None,
        ),
        (
            {
                "hf_hub_url": "org/set",
                "folder": "a/b",
                "formatting": "sharegpt",
                "tags": {"role_tag": "who", "user_tag": "asker", "observation_tag": "seen", "function_tag": "did"},
            },
            {
                "path": "hf://datasets/org/set/a/b",
                "format": "sharegpt",
                "columns": {"system": None, "tools": None},
                "message_keys": {"role": "who", "content": "value"},
                "roles": {"user": ["asker"], "tool": ["seen"], "function_call": ["did"]},
            },
            None,
        ),
        (
            {
                "file_name": "dpo.json",
                "ranking": True,
                "formatting": "sharegpt",
                "columns": {"messages": "conversations", "chosen": "better", "rejected": "rejected"},
            },
            {
                "path": "dpo.json",
                "format": "preference",
                "columns": {"prompt": "conversations", "chosen": "better", "tools": None},
            },
            "dpo",
        ),
        (
            {"file_name": "kto.json", "formatting": "sharegpt", "columns": {"messages": "messages", "kto_tag": "good"}},
            {"path": "kto.json", "format": "labelled_answer", "columns": {"label": "good", "tools": None}},
            "kto",
        ),
        (
            {"file_name": "kto.json", "columns": {"prompt": "q", "response": "a", "kto_tag": "label"}},
            {"path": "kto.json", "format": "labelled_completion", "columns": {"prompt": "q", "completion": "a"}},
            "kto",
        ),
        (
            {"file_name": "demo.json", "num_samples": 10, "columns": {"prompt": "prompt", "response": "completion"}},
            {
                "sources": [
                    {
                        "name": "demo",
                        "path": "demo.json",
                        "format": "prompt_completion",
                        "max_samples": 10,
                        "columns": {"tools": None},
                    }
                ]
            },
            None,
        ),
    ],
)
def test_entries_become_sections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any], data: dict[str, Any], objective: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dataset_info.json").write_text(json.dumps({"demo": entry}))
    found = import_datasets(Path("dataset_info.json"))
    assert (found.data, found.objective) == (data, objective)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"file_name": "a.json", "columns": {"prompt": "p", "images": "i"}},
            "demo: has images, which cannot be carried",
        ),
        ({"file_name": "a.json", "formatting": "other"}, "formatting is 'other'"),
        ({"script_url": "x"}, "has script_url alone.*code of a dataset is never run"),
        ({"ms_hub_url": "x/y"}, "has ms_hub_url alone"),
        ({}, "has no place alone"),
        ({"file_name": "a.json", "split": "test"}, "has a split or a subset of a file"),
        ({"file_name": "a.json", "shuffle": True}, "demo: has shuffle, which cannot be carried over"),
        ({"file_name": "a.json", "columns": {"promt": "p"}}, "demo: columns: has promt"),
        (
            {"file_name": "a.json", "ranking": True, "columns": {"prompt": "p", "query": "q", "chosen": "c"}},
            "have query in a column",
        ),
        ({"file_name": "a.json", "columns": {"prompt": "p", "response": "r", "tools": "t"}}, "Alpaca rows have tools"),
        ({"hf_hub_url": "o/n", "folder": "f", "subset": "s"}, "both a folder and a subset"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        imported(tmp_path, entry)


def test_line_ends_between_instruction_and_input_are_told(tmp_path: Path) -> None:
    assert "LLaMA-Factory puts a single line end there" in imported(tmp_path, {"file_name": "a.json"}).notes[0]


def test_datasets_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    pair = {"file_name": "p.json", "ranking": True, "formatting": "sharegpt"}
    path.write_text(json.dumps({"a": {"file_name": "a.json"}, "b": {"file_name": "b.json"}, "p": pair}))
    with pytest.raises(InvalidRequestError, match=r"has 3 datasets; say with --name which are wanted: a, b, p"):
        import_datasets(path)
    with pytest.raises(InvalidRequestError, match="no dataset 'c' in the file; it has a, b, p"):
        import_datasets(path, ["c"])
    with pytest.raises(InvalidRequestError, match=r"several objectives \(dpo, sft\)"):
        import_datasets(path, ["a", "p"])
    sources = import_datasets(path, ["a", "b"]).data["sources"]
    assert [source["name"] for source in sources] == ["a", "b"]
    assert sources[0]["path"] == str(tmp_path / "a.json")


@pytest.mark.parametrize("key", ["columns", "tags"])
def test_columns_and_tags_that_are_no_objects_are_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"{key} is no object; expected names with their values"):
        imported(tmp_path, {"file_name": "a.json", "formatting": "sharegpt", key: ["role"]})
