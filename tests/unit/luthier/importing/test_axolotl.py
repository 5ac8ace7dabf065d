"""`datasets:` of Axolotl configs: what becomes of the types and keys, and what is refused or told."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from luthier.errors import InvalidRequestError
from luthier.importing import Imported, import_datasets


def imported(tmp_path: Path, text: str) -> Imported:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return import_datasets(path)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("datasets: [{path: rows.jsonl, type: chat_template}]", {"path": "rows.jsonl", "format": "chat"}),
        (
            """
sequence_len: 2048
excess_length_strategy: raise
val_set_size: 0.05
datasets:
  - path: org/set
    name: en
    split: train
    revision: main
    type: chat_template
    chat_template: tokenizer_default
    field_messages: conversations
    field_tools: functions
    message_property_mappings: {role: from, content: value}
    message_field_training: learn
    field_thinking: thoughts
    roles: {user: [human, asker], assistant: [gpt]}
    roles_to_train: [assistant]
    train_on_eos: turn
""",
            {
                "max_length": 2048,
                "overlong": "raise",
                "validation_fraction": 0.05,
                "path": "hf://datasets/org/set@main?config=en&split=train",
                "format": "chat",
                "columns": {"messages": "conversations", "tools": "functions"},
                "message_keys": {"role": "from", "content": "value", "reasoning_content": "thoughts", "train": "learn"},
                "roles": {"user": ["asker"]},
            },
        ),
        (
            "datasets:\n- {path: ./a, type: sharegpt}\n"
            "- {path: a, data_files: b.jsonl, ds_type: json, type: input_output}",
            {
                "sources": [
                    {"name": "a-1", "path": "./a", "format": "sharegpt"},
                    {"name": "a-2", "path": "a/b.jsonl", "file_type": "jsonl", "format": "segments"},
                ]
            },
        ),
        (
            "datasets: [{path: json, data_files: [a.json], type: alpaca}]",
            {"path": "a.json", "file_type": "jsonl", "format": "alpaca"},
        ),
        (
            "datasets: [{path: o/n, data_files: [b.json, a.json], type: alpaca}]",
            {"path": ["hf://datasets/o/n/b.json", "hf://datasets/o/n/a.json"], "format": "alpaca"},
        ),
        (
            "datasets: [{path: s3://bucket/rows/, type: completion, field: body}]",
            {"path": "s3://bucket/rows/", "format": "text", "columns": {"text": "body"}, "overlong": "split"},
        ),
        (
            "rl: dpo\ndatasets:\n"
            "- {path: o/n, data_files: x.parquet, type: chat_template.default, field_chosen: better}",
            {
                "path": "hf://datasets/o/n/x.parquet",
                "format": "preference",
                "columns": {"prompt": "messages", "chosen": "better"},
            },
        ),
        ("datasets: [{path: steps.jsonl, type: stepwise_supervised}]", {"path": "steps.jsonl", "format": "stepwise"}),
    ],
)
def test_entries_become_sections(tmp_path: Path, text: str, data: dict[str, Any]) -> None:
    assert imported(tmp_path, text).data == data


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "type: gpteacher",
            r"entry 1 \(rows.jsonl\): is of type gpteacher, which cannot be carried over; datasets of type",
        ),
        ("type: {field_instruction: a}", "a user defined prompt"),
        ("type: chat_template, roles_to_train: [assistant, user]", "trains on assistant, user"),
        ("type: chat_template, train_on_eos: last", "has train_on_eos: last"),
        ("type: chat_template, message_field_training_detail: x", "has message_field_training_detail"),
        ("type: chat_template, chat_template_jinja: '{{ x }}'", "give data.chat_template"),
        ("type: chat_template, split: 'train[:10%]'", "takes the part"),
        ("type: chat_template, trust_remote_code: true", "wants to run code of others"),
        ("type: alpaca, shards: 3", "has shards"),
        ("type: stepwise_supervised, step_separator: ' '", "has a step_separator"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(tmp_path: Path, entry: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        imported(tmp_path, f"datasets: [{{path: rows.jsonl, {entry}}}]")


def test_what_is_for_the_user_to_decide_is_told(tmp_path: Path) -> None:
    text = "chat_template: chatml\nval_set_size: 100\ntest_datasets: [{path: t}]\ndatasets: [{path: a, type: alpaca}]"
    notes = imported(tmp_path, text).notes
    assert [note.split()[0] for note in notes] == ["Alpaca", "val_set_size", "test_datasets", "chat_template"]


def test_a_template_of_the_config_is_carried_over(tmp_path: Path) -> None:
    text = "chat_template_jinja: '{% for m in messages %}{{ m.content }}{% endfor %}'\ndatasets: [{path: a.jsonl}]"
    assert imported(tmp_path, text).data["chat_template"].startswith("{% for")


def test_objectives_go_with_the_rows(tmp_path: Path) -> None:
    assert imported(tmp_path, "rl: orpo\ndatasets: [{path: a, type: chat_template.default}]").objective == "orpo"
    assert imported(tmp_path, "datasets: [{path: a, type: completion}]").objective == "pretrain"
    with pytest.raises(InvalidRequestError, match="is a dataset for rl: dpo"):
        imported(tmp_path, "rl: dpo\ndatasets: [{path: a, type: chat_template}]")


@pytest.mark.parametrize("text", ["[]", "hello", "datasets: 3", "{", "\xff"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidRequestError, match=r"neither|not UTF-8"):
        import_datasets(path)
    with pytest.raises(InvalidRequestError, match="cannot read"):
        import_datasets(tmp_path / "nothing.yaml")


def test_the_command_prints_a_part_of_a_job_file(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from luthier.cli.main import app
    from luthier.spec import parse_spec

    path = tmp_path / "config.yaml"
    path.write_text(
        "datasets: [{path: rows.jsonl, type: completion, field: body}, {path: more.jsonl, type: completion}]"
    )
    result = CliRunner().invoke(app, ["datasets", "import", str(path), "--name", "rows-jsonl"])
    assert result.exit_code == 0, result.output
    assert YAML(typ="safe").load(result.output)["data"]["columns"] == {"text": "body"}
    job = f"name: a\nbase_model: org/b\n{result.output}"
    assert parse_spec(job).objective.type == "pretrain"
    machine = CliRunner().invoke(app, ["datasets", "import", str(path), "-o", "json"])
    assert '"sources"' in machine.output


def test_a_role_without_names_is_one_that_nobody_renamed(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "datasets: [{path: a.jsonl, type: chat_template, roles: {user: [asker], assistant: null, tool: null}}]"
    )
    assert import_datasets(path).data["roles"] == {"user": ["asker"]}


def test_roles_that_are_a_list_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("datasets: [{path: a.jsonl, type: chat_template, roles: [user]}]")
    with pytest.raises(InvalidRequestError, match=r"entry 1 \(a\.jsonl\): roles is no object"):
        import_datasets(path)
