"""From files to artifact: every shape and file type in, every bad input refused by name."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from transformers import PreTrainedTokenizerBase

from luthier.spec import PretrainSpec, SftSpec
from workers.data.dataset import SCHEMA, SPLITS, load_split, split_path
from workers.failures import ConfigError, DataError, PreemptedError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
PAIRS = [{"prompt": f"hello {i}", "completion": f"world {i}"} for i in range(6)]


def _chats(pairs: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    return [
        [{"role": "user", "content": pair["prompt"]}, {"role": "assistant", "content": pair["completion"]}]
        for pair in pairs
    ]


def test_every_shape_gives_the_same_examples(write_rows: Write, run: Run) -> None:
    shapes = {
        "chat.jsonl": [{"messages": chat} for chat in _chats(PAIRS)],
        "pair.jsonl": PAIRS,
        "alpaca.jsonl": [{"instruction": p["prompt"], "input": "", "output": p["completion"]} for p in PAIRS],
    }
    for name, rows in shapes.items():
        folder, _ = run(write_rows(rows, name), **WHOLE)
        examples = load_split(folder, "train")
        assert [example.messages for example in examples] == _chats(PAIRS)
        assert [(example.source, example.row) for example in examples] == [(name, row) for row in range(1, 7)]


def test_every_file_type_gives_the_same_tokens(tmp_path: Path, write_rows: Write, run: Run) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(PAIRS)
    pq.write_table(pa.Table.from_pylist(PAIRS), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist([{"messages": chat} for chat in _chats(PAIRS)]), tmp_path / "b.parquet")
    tokens = []
    for path in (write_rows(PAIRS), tmp_path / "a.csv", tmp_path / "a.parquet", tmp_path / "b.parquet"):
        examples = load_split(run(path, **WHOLE)[0], "train")
        tokens.append([(e.input_ids.tolist(), e.trainable.tolist()) for e in examples])
    assert tokens[0] == tokens[1] == tokens[2] == tokens[3]
    assert len(tokens[0]) == len(PAIRS)


def test_text_rows_have_no_messages(write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = None
    folder, _ = run(write_rows([{"text": "once upon"}, {"text": "a time"}]), **WHOLE)
    (first, second) = load_split(folder, "train")
    assert (first.messages, first.prompt, first.reference) == (None, [], "")
    assert tokenizer.decode(second.input_ids) == "a time<|im_end|>"


def test_weights_and_the_answers_that_the_job_trains_on_reach_the_artifact(write_rows: Write, run: Run) -> None:
    turn, answer = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}
    path = write_rows(
        [
            {"messages": [turn, answer, turn, {**answer, "weight": 0.5}]},
            {"messages": [turn, answer, {**turn, "content": "again"}, answer]},
            {"messages": [turn, {**answer, "weight": 0}]},
        ]
    )
    folder, outcome = run(path, **WHOLE)
    weighted, plain = load_split(folder, "train")
    assert weighted.weights is not None
    assert sorted({float(weight) for weight in weighted.weights}) == [0.0, 0.5, 1.0]
    assert (weighted.weights > 0).tolist() == weighted.trainable.tolist()
    assert weighted.messages == [turn, answer, turn, answer]
    assert plain.weights is None
    assert outcome.ledger.counts == {"nothing to train on": 1}
    (last, _) = load_split(run(path, objective=SftSpec(train_on="last"), **WHOLE)[0], "train")
    assert last.trainable.sum() * 2 == weighted.trainable.sum()


@pytest.mark.parametrize("max_length", [8, 9, 13, 1024])
def test_windows_of_a_text_have_every_token_as_a_target_once(write_rows: Write, run: Run, max_length: int) -> None:
    path = write_rows([{"text": f"{number} " * number} for number in (1, 7, 8, 9, 15, 30)])
    whole = load_split(run(path, objective=PretrainSpec(type="pretrain"), **WHOLE)[0], "train")
    folder, outcome = run(
        path, objective=PretrainSpec(type="pretrain"), max_length=max_length, overlong="split", **WHOLE
    )
    windows = load_split(folder, "train")
    assert outcome.sum(lambda tally: tally.num_added_windows) == len(windows) - len(whole)
    assert (outcome.sum(lambda tally: tally.num_added_windows) > 0) == (max_length < 1024)
    assert outcome.splits["train"].num_trainable_tokens == sum(int(window.trainable.sum()) for window in windows)
    for row in whole:
        own = [window for window in windows if window.row == row.row]
        assert max(len(window.input_ids) for window in own) <= max_length
        targets = [int(token) for window in own for token in window.input_ids[1:]]
        assert targets == row.input_ids[1:].tolist()
        assert all(
            window.trainable[1:].all() and window.input_ids[0] == before
            for window, before in zip(own[1:], (window.input_ids[-1] for window in own), strict=False)
        )


def test_chats_may_be_learned_as_text_and_have_no_prompt_then(write_rows: Write, run: Run) -> None:
    objective = PretrainSpec(type="pretrain")
    folder, _ = run(write_rows([{"messages": chat} for chat in _chats(PAIRS[:2])]), objective=objective, **WHOLE)
    assert [(row.messages, bool(row.trainable.all())) for row in load_split(folder, "train")] == [(None, True)] * 2


def test_artifact_has_the_agreed_columns_and_all_three_files(write_rows: Write, run: Run) -> None:
    folder, _ = run(write_rows(PAIRS[:1]), **WHOLE)
    for name in SPLITS:
        assert pa.ipc.open_file(split_path(folder, name)).schema.equals(SCHEMA, check_metadata=True)
    assert [len(load_split(folder, name)) for name in SPLITS] == [1, 0, 0]
    (example,) = load_split(folder, "train")
    assert (example.prompt, example.reference) == ([{"role": "user", "content": "hello 0"}], "world 0")
    assert sorted(path.name for path in folder.iterdir()) == ["test.arrow", "train.arrow", "validation.arrow"]


def test_folder_of_many_files_keeps_their_order_and_names(tmp_path: Path, run: Run) -> None:
    (tmp_path / "rows").mkdir()
    for part in range(3):
        lines = [json.dumps({"text": f"part {part} line {line}"}) for line in range(1500)]
        (tmp_path / "rows" / f"{part}.jsonl").write_text("\n".join(lines))
    folder, outcome = run(tmp_path / "rows", **WHOLE)
    places = [(example.source, example.row) for example in load_split(folder, "train")]
    assert places == [(f"{part}.jsonl", row) for part in range(3) for row in range(1, 1501)]
    assert outcome.rows_per_file == [1500, 1500, 1500]


def test_system_prompt_is_part_of_the_tokens(write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    folder, _ = run(write_rows(PAIRS[:1]), system_prompt="be brief", **WHOLE)
    (example,) = load_split(folder, "train")
    assert example.prompt[0] == {"role": "system", "content": "be brief"}
    assert tokenizer.decode(example.input_ids).startswith("<|im_start|>system\nbe brief<|im_end|>\n")


def test_broken_rows_are_listed_with_line_and_expectation(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "rows.jsonl"
    good = b'{"prompt": "a", "completion": "b"}'
    lines = [
        good,
        b'{"prompt": "a", ',
        b'{"prompt": "a"}',
        b'{"prompt": "a", "completion": " "}',
        b'{"prompt": "\xff"}',
    ]
    path.write_bytes(b"\n".join([*lines, b'"text"', b'{"prompt": "\\ud83d", "completion": "b"}', b"[" * 100_000]))
    with pytest.raises(DataError) as caught:
        run(path)
    message = str(caught.value)
    assert message.startswith("7 invalid rows of 8; mend them, or set data.on_invalid_row: drop")
    for expected in (
        "rows.jsonl line 2: broken JSON: Expecting property name enclosed in double quotes at column 17; expected one",
        "rows.jsonl line 3: wrong columns: no completion; found 'prompt', expected prompt + completion",
        "rows.jsonl line 4: empty: completion is empty; expected text",
        "rows.jsonl line 5: not UTF-8: byte 13 of the line is 0xff",
        "rows.jsonl line 6: wrong type: text; expected a JSON object",
        "rows.jsonl line 7: not UTF-8: holds half of a surrogate pair",
        "rows.jsonl line 8: broken JSON:",
    ):
        assert expected in message


def test_at_most_ten_rows_are_listed_and_all_are_counted(write_rows: Write, run: Run) -> None:
    rows = [*PAIRS, *([{"prompt": "a", "completion": 1}, {"prompt": "", "completion": "b"}] * 15)]
    with pytest.raises(DataError, match=r"30 invalid rows of 36") as caught:
        run(write_rows(rows))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:11]] == [f"rows.jsonl line {row}" for row in range(7, 17)]
    assert lines[11:] == ["  ... and 20 more"]


def test_invalid_rows_can_be_dropped_and_are_named(write_rows: Write, run: Run) -> None:
    path = write_rows([*PAIRS, {"prompt": "a", "completion": ""}, {"prompt": 1, "completion": "b"}])
    folder, outcome = run(path, on_invalid_row="drop", **WHOLE)
    assert len(load_split(folder, "train")) == 6
    assert {reason: [fault.row for fault in faults] for reason, faults in outcome.ledger.first.items()} == {
        "empty": [7],
        "wrong type": [8],
    }


def test_file_that_breaks_off_is_refused_even_when_rows_may_be_dropped(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,completion\na,b\n"c,d\ne,f\n')
    with pytest.raises(DataError, match=r"rows\.csv line 3: broken file: .*is a quote not closed"):
        run(path, on_invalid_row="drop")


@pytest.mark.parametrize("content", ["\n\n  \n", "prompt,completion\n"])
def test_file_without_rows_is_refused(tmp_path: Path, run: Run, content: str) -> None:
    path = tmp_path / ("rows.csv" if "," in content else "rows.jsonl")
    path.write_text(content)
    with pytest.raises(DataError, match=r"holds no rows|columns found: none"):
        run(path)


def test_overlong_rows_are_dropped_and_counted(write_rows: Write, run: Run) -> None:
    rows = [*PAIRS, {"prompt": "hello", "completion": "x y z " * 100}]
    folder, outcome = run(write_rows(rows), max_length=60, **WHOLE)
    assert [example.row for example in load_split(folder, "train")] == list(range(1, 7))
    (fault,) = outcome.ledger.first["overlong"]
    assert fault.row == 7
    assert fault.detail.endswith("tokens; data.max_length is 60")


def test_an_overlong_row_fails_the_job_that_wants_none(write_rows: Write, run: Run) -> None:
    rows = [*PAIRS, {"prompt": "hello", "completion": "x y z " * 100}]
    with pytest.raises(
        DataError, match=r"rows\.jsonl line 7: overlong: .*raise data\.max_length, or set data\.overlong"
    ):
        run(write_rows(rows), max_length=60, overlong="raise", **WHOLE)
    _, outcome = run(write_rows(PAIRS), max_length=60, overlong="raise", **WHOLE)
    assert outcome.splits["train"].num_rows == len(PAIRS)


def test_overlong_rows_are_cut_and_those_without_an_answer_left_are_dropped(write_rows: Write, run: Run) -> None:
    rows = [*PAIRS, {"prompt": "hello", "completion": "x y z " * 100}, {"prompt": "x y z " * 100, "completion": "no"}]
    folder, outcome = run(write_rows(rows), max_length=60, overlong="truncate", **WHOLE)
    examples = load_split(folder, "train")
    assert [example.row for example in examples] == list(range(1, 8))
    assert len(examples[6].input_ids) == len(examples[6].trainable) == 60
    assert examples[6].trainable[-1]
    assert outcome.sum(lambda tally: tally.num_truncated) == 2
    (fault,) = outcome.ledger.first["nothing to train on"]
    assert (fault.row, "within the first 60 of" in fault.detail) == (8, True)


def test_dataset_without_a_trainable_token_is_refused(write_rows: Write, run: Run) -> None:
    rows = [{"prompt": f"{i} " + "x y z " * 50, "completion": "no"} for i in range(9)]
    with pytest.raises(DataError, match=r"no row is left to train on: 9 read, dropped: 9 nothing to train on"):
        run(write_rows(rows), max_length=16, overlong="truncate")


def test_training_split_that_leaks_away_is_refused(write_rows: Write, run: Run) -> None:
    path = write_rows(PAIRS)
    with pytest.raises(DataError, match=r"no row is left to train on.*6 also in validation or test"):
        run(path, test_path=str(path))


def test_chat_without_a_chat_template_says_what_to_do(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match=r"has no chat template.*use an instruct model"):
        run(write_rows(PAIRS))


def test_a_template_that_leaves_answers_out_says_what_to_do(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(ConfigError, match=r"leaves out what the assistant says.*give data\.chat_template"):
        run(write_rows(PAIRS))


def test_unstable_template_is_refused_with_the_row(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = "{{ messages | length }}" + str(tokenizer.chat_template)
    chat = _chats(PAIRS[:1])[0]
    with pytest.raises(ConfigError, match=r"cannot be trained on.*rows\.jsonl line 1: unstable chat template"):
        run(write_rows([{"messages": chat * 2}]), **WHOLE)


def test_rows_that_the_template_refuses_are_invalid(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = (
        "{% if 'bad' in messages[0].content %}{{ raise_exception('no thanks') }}{% endif %}"
        + str(tokenizer.chat_template)
    )
    path = write_rows([*PAIRS, {"prompt": "bad", "completion": "x"}])
    with pytest.raises(
        DataError, match=r"1 invalid row of 7.*\n  rows\.jsonl line 7: refused by the chat template: no"
    ):
        run(path, **WHOLE)
    folder, _ = run(path, on_invalid_row="drop", **WHOLE)
    assert len(load_split(folder, "train")) == 6


def test_progress_moves_and_ends_at_its_end(write_rows: Write, run: Run, recorder: Any) -> None:
    run(write_rows([{"text": f"row {i}"} for i in range(3000)]))
    numbers = [step for step, _, _ in recorder.steps]
    assert numbers == sorted(numbers)
    assert recorder.steps[-1][:2] == (6000, 6000)
    assert len({message for _, _, message in recorder.steps}) == 4


def test_draining_worker_gets_the_stage_back_soon(write_rows: Write, run: Run, recorder: Any) -> None:
    recorder.stops_after = 2
    with pytest.raises(PreemptedError):
        run(write_rows(PAIRS))


def test_rows_in_many_scratch_files_stay_in_order(write_rows: Write, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows([{"text": f"row {i % 1900}"} for i in range(2000)])
    whole, _ = run(path)
    monkeypatch.setattr("workers.data.storage.tables._MAX_ROWS", 300)
    pieces, outcome = run(path)
    assert outcome.ledger.counts == {"duplicate": 100}
    for name in SPLITS:
        assert [(e.row, e.input_ids.tolist()) for e in load_split(pieces, name)] == [
            (e.row, e.input_ids.tolist()) for e in load_split(whole, name)
        ]


def test_same_input_gives_the_same_bytes(write_rows: Write, run: Run) -> None:
    path = write_rows([{"text": f"row {i}"} for i in range(2000)])
    first, second = run(path)[0], run(path)[0]
    for name in SPLITS:
        assert split_path(first, name).read_bytes() == split_path(second, name).read_bytes()


def test_bad_rows_are_named_where_leaving_them_out_leaves_nothing(write_rows, run):
    path = write_rows([{"prompt": number, "completion": "a"} for number in range(5)])
    with pytest.raises(
        DataError, match=r"(?s)no row is left .*, such as:\n  rows\.jsonl line 1: wrong type: .* line 3"
    ):
        run(path, on_invalid_row="drop")
