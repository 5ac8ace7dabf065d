"""Rows that give away a benchmark are dropped with the place that they give away; others are not."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from luthier.spec import load_job_file
from workers.data.dataset import load_split
from workers.failures import ConfigError, DataError

Words = Callable[[int], list[str]]
Edit = Callable[[Sequence[str], float], list[str]]
Write = Callable[..., Path]
Run = Callable[..., Any]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def _text(words: Sequence[str]) -> str:
    """As a person may have written it."""
    return ", ".join(words).capitalize() + "."


@pytest.mark.parametrize(
    ("num_shared", "num_in_benchmark", "is_dropped"),
    [(13, 40, True), (12, 40, False), (40, 40, True), (10, 10, True), (9, 10, False), (8, 8, True), (7, 7, False)],
)
def test_a_row_is_dropped_for_so_many_words_in_a_row(
    write_rows: Write, run: Run, sentence: Words, num_shared: int, num_in_benchmark: int, is_dropped: bool
) -> None:
    question = sentence(num_in_benchmark)
    clean = [{"prompt": _text(sentence(20)), "completion": _text(sentence(20))} for _ in range(4)]
    dirty = {
        "prompt": " ".join([*sentence(5), *question[:num_shared], *sentence(5)]).upper(),
        "completion": _text(sentence(9)),
    }
    benchmark = write_rows([{"question": _text(sentence(30))}, {"question": _text(question)}], "bench.jsonl")
    folder, outcome = run(
        write_rows([*clean[:2], dirty, *clean[2:]]), **WHOLE, decontaminate={"paths": [str(benchmark)]}
    )
    assert len(load_split(folder, "train")) == 5 - is_dropped
    assert outcome.ledger.counts == ({"in a benchmark": 1} if is_dropped else {})
    if is_dropped:
        (fault,) = outcome.ledger.first["in a benchmark"]
        assert fault.row == 3
        length = min(13, num_in_benchmark)
        assert fault.detail.startswith(f"shares {length} words with bench.jsonl row 2: {' '.join(question[:3])}")


def test_every_text_of_a_row_is_looked_at(write_rows: Write, run: Run, sentence: Words) -> None:
    secret = sentence(20)
    chats = [
        [{"role": "system", "content": _text(secret)}, {"role": "user", "content": "a"}],
        [{"role": "user", "content": _text(secret)}],
        [
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": _text(secret)},
            {"role": "user", "content": "c"},
        ],
    ]
    rows = [{"messages": [*chat, {"role": "assistant", "content": "fine"}]} for chat in chats]
    rows.append({"messages": [{"role": "user", "content": "d"}, {"role": "assistant", "content": "fine"}]})
    others = [{"id": str(number)} for number in range(200)]
    benchmark = write_rows([*others, {"any": {"thing": ["x", {"deep": _text(secret)}]}}], "bench.jsonl")
    _, outcome = run(write_rows(rows), **WHOLE, decontaminate={"paths": [str(benchmark)]})
    assert outcome.ledger.counts == {"in a benchmark": 3}


def test_benchmarks_of_every_kind_are_read(tmp_path: Path, write_rows: Write, run: Run, sentence: Words) -> None:
    secrets = [_text(sentence(20)) for _ in range(4)]
    (tmp_path / "held").mkdir()
    write_rows([{"question": secrets[0]}], "held/a.jsonl")
    with (tmp_path / "b.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "goal"], ["1", secrets[1]]])
    pq.write_table(pa.Table.from_pylist([{"choices": ["no", secrets[2]]}]), tmp_path / "c.parquet")
    write_rows([{"messages": [{"role": "user", "content": secrets[3]}]}], "d.jsonl")
    paths = [str(tmp_path / name) for name in ("held", "b.csv", "c.parquet", "d.jsonl")]
    rows = [{"text": f"{' '.join(sentence(5))} {secret}"} for secret in secrets]
    rows.append({"text": "innocent"})
    folder, outcome = run(write_rows(rows), **WHOLE, decontaminate={"paths": paths})
    assert [row.row for row in load_split(folder, "train")] == [5]
    details = [fault.detail.split(":")[0] for fault in outcome.ledger.first["in a benchmark"]]
    assert details == [
        f"shares 13 words with {name}" for name in ("a.jsonl row 1", "b.csv row 2", "c.parquet row 1", "d.jsonl row 1")
    ]


def test_instructions_that_all_rows_of_a_benchmark_share_do_not_count(
    write_rows: Write, run: Run, sentence: Words
) -> None:
    instruction = _text(sentence(20))
    benchmark = write_rows([{"question": f"{instruction} {_text(sentence(20))}"} for _ in range(11)], "bench.jsonl")
    path = write_rows([{"text": f"{instruction} {_text(sentence(30))}"}, {"text": "innocent"}])
    _, outcome = run(path, **WHOLE, decontaminate={"paths": [str(benchmark)]})
    assert not outcome.ledger.counts
    _, outcome = run(path, **WHOLE, decontaminate={"paths": [str(benchmark)], "max_shared": 11})
    assert outcome.ledger.counts == {"in a benchmark": 1}


def test_only_the_named_columns_count(write_rows: Write, run: Run, sentence: Words) -> None:
    secret = _text(sentence(20))
    benchmark = write_rows([{"question": _text(sentence(20)), "source": secret}], "bench.jsonl")
    path = write_rows([{"text": secret}, {"text": "innocent"}])
    for columns, num_dropped in ((None, 1), (["question"], 0), (["source"], 1)):
        _, outcome = run(path, **WHOLE, decontaminate={"paths": [str(benchmark)], "columns": columns})
        assert outcome.ledger.counts.total() == num_dropped


def test_rows_like_a_benchmarks_are_dropped_where_asked(
    write_rows: Write, run: Run, sentence: Words, edited: Edit
) -> None:
    questions = [sentence(40) for _ in range(8)]
    benchmark = write_rows([{"question": _text(question)} for question in questions], "bench.jsonl")
    changed = [edited(question, 0.1) for question in questions]
    rows = [{"prompt": _text(words[:30]), "completion": _text(words[30:])} for words in changed]
    path = write_rows([*rows, {"prompt": "innocent", "completion": "indeed"}])
    paths = {"paths": [str(benchmark)], "ngram": 64}
    _, outcome = run(path, **WHOLE, decontaminate=paths)
    assert not outcome.ledger.counts
    folder, outcome = run(path, **WHOLE, decontaminate={**paths, "near": 0.5})
    assert [row.row for row in load_split(folder, "train")] == [9]
    details = [fault.detail for fault in outcome.ledger.first["in a benchmark"]]
    assert [detail.split("like ")[1] for detail in details] == [f"bench.jsonl row {row}" for row in range(1, 9)]
    assert all(0.5 <= int(detail.split("%")[0]) / 100 < 0.95 for detail in details)


def test_a_benchmark_that_says_nothing_or_cannot_be_read_is_refused(write_rows: Write, run: Run) -> None:
    path = write_rows([{"text": "a"}, {"text": "b"}])
    short = write_rows([{"question": "too short"}], "short.jsonl")
    with pytest.raises(DataError, match=r"no text of 8 words or more in .*short.jsonl"):
        run(path, decontaminate={"paths": [str(short)]})
    with pytest.raises(DataError, match=r"data.decontaminate.paths: .*missing.jsonl does not exist"):
        run(path, decontaminate={"paths": [str(path.parent / "missing.jsonl")]})
    broken = path.parent / "broken.jsonl"
    broken.write_text('{"question": "one"}\n{"question": \n')
    with pytest.raises(DataError, match=r"broken.jsonl row 2: .*mend the row, or leave the file out"):
        run(path, decontaminate={"paths": [str(broken)]})


@pytest.mark.parametrize("columns", [None, ["question"]])
def test_a_benchmark_that_is_far_more_than_its_file_is_refused(
    write_rows: Write, run: Run, monkeypatch: pytest.MonkeyPatch, columns: list[str] | None
) -> None:
    monkeypatch.setattr("workers.data.files.ratio.FREE_BYTES", 1 << 20)
    path = write_rows([{"text": "a"}, {"text": "b"}])
    bomb = path.parent / "bench.parquet"
    pq.write_table(pa.table({"question": ["one long question " * 100] * 10_000}), bomb)
    with pytest.raises(DataError, match=r"over 250 times as much"):
        run(path, decontaminate={"paths": [str(bomb)], "columns": columns})


def test_a_benchmark_is_read_only_where_a_worker_may_read(write_rows: Write, tokenizer: Any, recorder: Any) -> None:
    from luthier.spec import DataSpec
    from workers.data.pipeline import preprocess

    path, benchmark = write_rows([{"text": "a"}, {"text": "b"}]), write_rows([{"question": "x"}], "bench.jsonl")

    def check(path: str, key: str) -> None:
        if key == "data.decontaminate.paths":
            raise ConfigError(f"{key} {path} may not be read")

    spec = DataSpec.model_validate({"path": str(path), "decontaminate": {"paths": [str(benchmark)]}})
    output = path.parent / "refused"
    output.mkdir()
    with pytest.raises(ConfigError, match=r"bench.jsonl may not be read"):
        preprocess(spec, tokenizer, output, check, recorder)


def test_paths_of_benchmarks_are_relative_to_the_job_file(tmp_path: Path) -> None:
    job = {"name": "a", "base_model": "m", "data": {"path": "a.jsonl", "decontaminate": {"paths": ["b.jsonl", "/c"]}}}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    decontaminate = load_job_file(tmp_path / "job.yaml").data.decontaminate
    assert decontaminate is not None
    assert decontaminate.paths == [str(tmp_path / "b.jsonl"), "/c"]
