"""ShareGPT, Alpaca with history, segments, OpenAI's pairs, steps and prompts: what becomes of each, what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from luthier.spec import ClassificationSpec, DpoSpec, GrpoSpec, KtoSpec, ObjectiveSpec, PretrainSpec, SftSpec
from luthier.spec.data.mapping import Column, RowFormat
from workers.data.dataset import Example, load_split
from workers.data.problems import RowError
from workers.data.shapes import SHAPES, detect, read_row
from workers.data.tokens.encode import Encoded, Encoder
from workers.data.tokens.render import render_prompt
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
DPO, KTO = DpoSpec(type="dpo"), KtoSpec(type="kto")
GRPO = GrpoSpec.model_validate_json('{"type": "grpo", "rewards": [{"type": "exact_match"}]}')
USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}
SYSTEM = {"role": "system", "content": "be brief"}
STEPS = {"prompt": "hello", "completions": ["one", "two"], "labels": [True, True]}
CALL = {"name": "f", "arguments": {"x": 1}}


def trained(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    return str(tokenizer.decode(example.input_ids[example.trainable]))


def test_a_job_file_knows_the_shapes_and_columns_that_there_are() -> None:
    assert set(get_args(RowFormat)) == {"auto", *SHAPES}
    assert set(get_args(Column)) == {name for shape in SHAPES.values() for name in shape.columns}


def test_every_shape_is_for_some_objective() -> None:
    sections = get_args(get_args(ObjectiveSpec)[0])
    fixed = [formats for section in sections if isinstance(formats := section.row_formats, tuple)]
    by_labels = [
        ClassificationSpec(type="classification", multi_label=several).row_formats for several in (False, True)
    ]
    assert {name for formats in [*fixed, *by_labels] for name in formats} == {*SHAPES}


@pytest.mark.parametrize(
    ("shape", "record", "expected"),
    [
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "world"}]},
            [0, 1],
        ),
        (
            "sharegpt",
            {"conversations": [{"from": "User", "value": "hello"}, {"from": "bot", "value": "world"}]},
            [0, 1],
        ),
        ("sharegpt", {"conversations": [USER, ANSWER], "system": "be brief", "tools": ""}, [2, 0, 1]),
        ("sharegpt", {"conversations": [{"from": "system", "value": "be brief"}, USER, ANSWER]}, [2, 0, 1]),
        ("sharegpt", {"conversations": json.dumps([USER, ANSWER])}, [0, 1]),
        ("alpaca", {"instruction": "hello", "output": "world", "system": "be brief"}, [2, 0, 1]),
        ("alpaca", {"instruction": "hello", "output": "world", "system": "", "history": None}, [0, 1]),
        ("alpaca", {"instruction": "hello", "output": "world", "history": [["hello", "world"]]}, [0, 1, 0, 1]),
        ("alpaca", {"instruction": "hello", "output": "world", "history": '[["hello", "world"]]'}, [0, 1, 0, 1]),
        ("prompt_completion", {"prompt": [SYSTEM, USER], "completion": [ANSWER]}, [2, 0, 1]),
        ("prompt_completion", {"prompt": [USER], "completion": "world"}, [0, 1]),
        ("prompt_completion", {"prompt": [USER, ANSWER, USER], "completion": [ANSWER, USER, ANSWER]}, [0, 1] * 3),
        ("preference", {"prompt": [USER], "chosen": {"from": "gpt", "value": "world"}, "rejected": "no"}, [0, 1]),
        (
            "openai_preference",
            {
                "input": {"messages": [USER]},
                "preferred_output": [ANSWER],
                "non_preferred_output": [{**ANSWER, "content": "no"}],
            },
            [0, 1],
        ),
        ("prompt", {"prompt": "hello"}, [0]),
        ("prompt", {"prompt": [SYSTEM, USER, ANSWER, USER], "answer": "42"}, [2, 0, 1, 0]),
        ("labelled_answer", {"messages": [USER, ANSWER], "label": True}, [0, 1]),
    ],
)
def test_every_shape_becomes_one_form(shape: str, record: dict[str, Any], expected: list[int]) -> None:
    content, _ = read_row(record, SHAPES[shape])
    assert content == [(USER, ANSWER, SYSTEM)[number] for number in expected]


def test_calls_and_observations_of_sharegpt() -> None:
    said = [
        {"from": "human", "value": "hello"},
        {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": "4"},
        {"from": "gpt", "value": "world"},
    ]
    content, notes = read_row({"conversations": said, "tools": json.dumps([{"name": "f"}])}, SHAPES["sharegpt"])
    call = {"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    assert content == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "4"},
        ANSWER,
    ]
    assert notes.tools == '[{"type": "function", "function": {"name": "f"}}]'


@pytest.mark.parametrize(
    ("record", "weights"),
    [
        ({"messages": [USER, {**ANSWER, "train": False}, {**USER, "train": False}, ANSWER]}, [0.0, 1.0]),
        ({"messages": [{**USER, "weight": 0}, {**ANSWER, "train": True, "weight": 0.5}]}, [0.5]),
        (
            {
                "messages": [
                    USER,
                    {"role": "assistant", "content": [{"type": "text", "text": "wor"}, {"type": "text", "text": "ld"}]},
                ]
            },
            None,
        ),
    ],
)
def test_what_answers_count(record: dict[str, Any], weights: list[float] | None) -> None:
    content, notes = read_row(record, SHAPES["chat"])
    assert content in ([USER, ANSWER], [USER, ANSWER, USER, ANSWER])
    assert notes.weights == weights


def test_answers_of_a_prompt_are_context() -> None:
    record = {"prompt": [USER, ANSWER, USER], "completion": [{**ANSWER, "weight": 0.5}, USER, ANSWER]}
    assert read_row(record, SHAPES["prompt_completion"])[1].weights == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("shape", "record", "reason", "detail"),
    [
        (
            "chat",
            {"messages": [USER, {**ANSWER, "train": "no"}]},
            "wrong type",
            "train is text; expected true or false",
        ),
        (
            "chat",
            {"messages": [USER, {**ANSWER, "train": True, "weight": 0}]},
            "wrong columns",
            "contradict each other",
        ),
        ("chat", {"messages": [{**USER, "train": True}, ANSWER]}, "wrong columns", "only answers of the assistant"),
        (
            "chat",
            {"messages": [{**USER, "content": [{"type": "image_url"}]}, ANSWER]},
            "wrong type",
            "of type 'image_url'",
        ),
        (
            "chat",
            {"messages": [USER, {**ANSWER, "content": [{"type": "text", "text": "x", "train": True}]}]},
            "wrong columns",
            "give the whole message a weight, or the row as segments",
        ),
        ("chat", {"messages": [{**USER, "from": "gpt"}, ANSWER]}, "wrong columns", "says role twice, also as 'from'"),
        (
            "sharegpt",
            {"conversations": [SYSTEM, USER, ANSWER], "system": "x"},
            "wrong roles",
            "in the column system and",
        ),
        ("sharegpt", {"conversations": "[{"}, "broken JSON", "column conversations"),
        ("sharegpt", {"conversations": "hello"}, "wrong type", "conversations is text; expected a list"),
        ("alpaca", {"instruction": "a", "output": "b", "history": [["q"]]}, "wrong type", "history: turn 1 is a list"),
        (
            "alpaca",
            {"instruction": "a", "output": "b", "history": [["q", ""]]},
            "empty",
            "history: turn 1 answer is empty",
        ),
        (
            "prompt",
            {"prompt": [USER, ANSWER]},
            "wrong roles",
            "the last message is assistant; expected one that is to be",
        ),
        (
            "segments",
            {"segments": [{"label": False, "text": "a"}]},
            "nothing to train on",
            "no segment has the label true",
        ),
        ("segments", {"segments": [{"label": 1, "text": "a"}]}, "wrong type", "segment 1 has a number as label"),
        ("segments", {"segments": [{"label": True, "text": None}]}, "wrong type", "segment 1 has null as text"),
        ("segments", {"segments": ["a"]}, "wrong type", "segment 1 is text"),
        ("stepwise", {**STEPS, "labels": [True, False]}, "nothing to train on", "step 2 is labelled as wrong"),
        ("stepwise", {**STEPS, "labels": [True]}, "wrong columns", "2 completions and 1 labels"),
        ("stepwise", {**STEPS, "labels": [True, 1]}, "wrong type", "label 2 is a number"),
        ("stepwise", {**STEPS, "completions": ["a", ""]}, "wrong type", "step 2 is text without words"),
        (
            "labelled_text",
            {"text": "a", "label": ["x", "y"]},
            "wrong type",
            "label is a list, and a row has one class here",
        ),
        (
            "openai_preference",
            {"input": [], "preferred_output": [], "non_preferred_output": []},
            "wrong type",
            "input is a list",
        ),
        (
            "preference",
            {"prompt": "a", "chosen": "b", "rejected": [{**ANSWER, "tool_calls": [CALL]}]},
            "wrong columns",
            "rejected: the last answer has tool_calls; only its text can be compared",
        ),
        (
            "labelled_answer",
            {"messages": [USER, {**ANSWER, "weight": 2}], "label": True},
            "wrong columns",
            "has a weight",
        ),
        (
            "text",
            {"messages": [USER, ANSWER]},
            "wrong columns",
            "it is a row of chat: put rows of each shape into a file of",
        ),
    ],
)
def test_a_bad_row_is_named(shape: str, record: dict[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(record, SHAPES[shape])
    assert (caught.value.reason, detail in caught.value.detail) == (reason, True), caught.value.detail


@pytest.mark.parametrize(
    ("columns", "formats", "shape"),
    [
        (["prompt", "completion", "answer"], GrpoSpec.row_formats, "prompt_completion"),
        (["prompt", "answer"], GrpoSpec.row_formats, "prompt"),
        (["conversations", "system", "tools", "id"], SftSpec.row_formats, "sharegpt"),
        (["segments"], PretrainSpec.row_formats, "segments"),
        (["prompt", "completions", "labels"], SftSpec.row_formats, "stepwise"),
        (["prompt", "completions", "labels"], KtoSpec.row_formats, "labelled_stepwise"),
        (["messages", "label"], KtoSpec.row_formats, "labelled_answer"),
        (["input", "preferred_output", "non_preferred_output"], DpoSpec.row_formats, "openai_preference"),
        (["prompt", "chosen", "rejected"], tuple(SHAPES), "preference"),
    ],
)
def test_shapes_are_told_by_columns(columns: list[str], formats: tuple[str, ...], shape: str) -> None:
    assert detect(columns, formats) == shape


SEGMENTS = [{"label": False, "text": "hello "}, {"label": True, "text": "world"}, {"label": False, "text": "\n"}]


def test_segments_are_put_end_to_end_and_nothing_is_added(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = None
    texts = ["a b ", "c", " d", " 🦊e", "naïve", "!"]
    many = [{"label": number % 3 != 0, "text": text} for number, text in enumerate(texts)]
    path = write_rows([{"segments": SEGMENTS}, {"segments": json.dumps(many)}])
    folder, _ = run(path, system_prompt="be brief", **WHOLE)
    first, second = load_split(folder, "train")
    assert (first.messages, first.prompt) == (None, [])
    assert tokenizer.decode(first.input_ids) == "hello world\n"
    assert tokenizer.decode(second.input_ids) == "".join(texts)
    assert trained(tokenizer, first) == "world"
    assert trained(tokenizer, second) == "c dnaïve!"
    prompt = tokenizer.encode("hello ", add_special_tokens=False)
    assert first.input_ids[: len(prompt)].tolist() == prompt, "as in serving"
    everything, _ = run(path, PretrainSpec(type="pretrain"), **WHOLE)
    assert all(example.trainable.all() for example in load_split(everything, "train"))


def test_steps_are_learned_if_all_are_right_and_judged_by_whether_they_are(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write_rows([STEPS, {**STEPS, "prompt": "bye", "labels": [True, False]}])
    folder, outcome = run(path, **WHOLE)
    (right,) = load_split(folder, "train")
    assert trained(tokenizer, right) == "one\ntwo<|im_end|>"
    assert outcome.ledger.counts == {"nothing to train on": 1}
    judged = load_split(run(path, KTO, **WHOLE)[0], "train")
    assert [(example.label, example.reference) for example in judged] == [
        ("desirable", "one\ntwo"),
        ("undesirable", "one\ntwo"),
    ]


def test_prompts_alone_are_what_grpo_asks(write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    folder, _ = run(write_rows([{"prompt": "hello"}, {"prompt": [SYSTEM, USER, ANSWER, USER]}]), GRPO, **WHOLE)
    first, second = load_split(folder, "train")
    assert (first.prompt, first.reference, first.is_answered) == ([USER], "", False)
    assert second.prompt == [SYSTEM, USER, ANSWER, USER]
    for example in (first, second):
        assert example.input_ids.tolist() == render_prompt(tokenizer, example.prompt)
        assert not example.trainable.any()


def test_pairs_as_openai_writes_them(write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    row = {
        "input": {"messages": [SYSTEM, USER], "tools": [], "parallel_tool_calls": True},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{**ANSWER, "content": "fox"}],
    }
    (pair,) = load_split(run(write_rows([row]), DPO, **WHOLE)[0], "train")
    assert pair.rejected is not None
    assert trained(tokenizer, pair) == "world<|im_end|>"
    assert tokenizer.decode(pair.rejected.input_ids[pair.rejected.trainable]) == "fox<|im_end|>"


def test_every_file_type_takes_lists_as_json_text(tmp_path: Path, write_rows: Write, run: Run) -> None:
    row = {"conversations": [USER, ANSWER], "system": "be brief", "tools": ""}
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow({**row, "conversations": json.dumps(row["conversations"])})
    for path in (tmp_path / "a.csv", write_rows([row])):
        (example,) = load_split(run(path, **WHOLE)[0], "train")
        assert example.messages == [SYSTEM, USER, ANSWER]


def test_segments_of_a_tokenizer_that_reads_parts_otherwise() -> None:
    pieces = {piece: index for index, piece in enumerate(["<s>", "▁", "▁a", "▁b", "a", "b"])}
    backend = Tokenizer(models.BPE(pieces, [("▁", "a"), ("▁", "b")], unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="<s>")
    row, _ = read_row({"segments": [{"label": False, "text": "a "}, {"label": True, "text": "b"}]}, SHAPES["segments"])
    (encoded,) = Encoder(tokenizer).encode([row])
    assert isinstance(encoded, Encoded)
    assert tokenizer.convert_ids_to_tokens(encoded.input_ids.tolist()) == ["▁a", "▁b"]
    assert encoded.trainable.tolist() == [False, True]


def test_files_of_mixed_shapes_are_refused_row_by_row(write_rows: Write, run: Run) -> None:
    rows = [{"messages": [USER, ANSWER]}] * 101 + [{"prompt": "hello", "completion": "world"}]
    with pytest.raises(DataError, match=r"line 102: wrong columns: no messages(.|\n)*it is a row of prompt_completion"):
        run(write_rows(rows), **WHOLE)
