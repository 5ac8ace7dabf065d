"""Several sources in one run: drawn as `datasets` draws them, every row accounted for, the same for the same seed."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.spec import DataSpec, DpoSpec, MixingSpec
from tests.unit.workers.data.conftest import Recorder
from workers.data.dataset import SPLITS, load_split
from workers.data.outcome import Outcome
from workers.data.pipeline import preprocess
from workers.data.report import write_report
from workers.data.splits.mixing import draw, probabilities_of
from workers.failures import DataError

Write = Callable[..., Path]
Mix = Callable[..., tuple[Path, Outcome]]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def _pairs(name: str, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"{name} {i}", "completion": f"{name} answer {i}"} for i in range(count)]


@pytest.fixture
def mix(tmp_path: Path, tokenizer: Any, recorder: Recorder) -> Mix:
    """A function that runs the pipeline on sources given as `data.sources` has them."""

    def run(sources: list[dict[str, Any]], objective: Any = None, **settings: Any) -> tuple[Path, Outcome]:
        folder = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        folder.mkdir()
        spec = DataSpec.model_validate({"sources": sources, **settings})
        args = () if objective is None else (objective,)
        return folder, preprocess(spec, tokenizer, folder, lambda path, key: None, recorder, *args)

    return run


@pytest.mark.parametrize("stopping", ["first_exhausted", "all_exhausted"])
@pytest.mark.parametrize("seed", [0, 7])
def test_sources_are_drawn_as_by_datasets(stopping: Any, seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
    sizes, probabilities = [30, 700, 3], [0.2, 0.75, 0.05]
    sets = [datasets.Dataset.from_dict({"source": [number] * size}) for number, size in enumerate(sizes)]
    theirs = datasets.interleave_datasets(sets, probabilities, seed=seed, stopping_strategy=stopping)
    ours = draw(sizes, probabilities, MixingSpec(stopping_strategy=stopping), seed)
    assert ours.tolist() == theirs["source"][:]


def test_a_source_of_weight_0_is_never_drawn_and_stops_nothing() -> None:
    for stopping in ("first_exhausted", "all_exhausted"):
        mixing = MixingSpec.model_validate({"stopping_strategy": stopping})
        assert set(draw([5, 5, 5], [0.5, 0.0, 0.5], mixing, 0).tolist()) == {0, 2}


def test_probabilities_are_the_formula_of_their_strategy() -> None:
    sizes, weights = [100, 10_000], [2.0, 1.0]
    assert probabilities_of(sizes, weights, "weighted", 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert probabilities_of(sizes, weights, "proportional", 2.0) == pytest.approx([200 / 10_200, 10_000 / 10_200])
    assert probabilities_of(sizes, weights, "temperature", 2.0) == pytest.approx([20 / 120, 100 / 120])
    same = probabilities_of(sizes, weights, "temperature", 1.0)
    assert same == probabilities_of(sizes, weights, "proportional", 2.0)
    assert probabilities_of(sizes, [1.7e308, 1.7e308], "weighted", 2.0) == [0.5, 0.5]


@pytest.mark.parametrize("stopping", ["first_exhausted", "all_exhausted"])
def test_every_row_is_kept_or_dropped_with_a_reason(write_rows: Write, mix: Mix, tokenizer: Any, stopping: str) -> None:
    rows = _pairs("tickets", 60)
    sources = [
        {"name": "tickets", "path": str(write_rows([*rows, *rows[:5], {"prompt": 1}], "a.jsonl")), "weight": 3.0},
        {"name": "chat", "path": str(write_rows(_pairs("chat", 200), "b.jsonl")), "weight": 1.0, "max_samples": 50},
    ]
    mixing = {"stopping_strategy": stopping}
    folder, outcome = mix(sources, mixing=mixing, on_invalid_row="drop")
    spec = DataSpec.model_validate({"sources": sources, "mixing": mixing, "on_invalid_row": "drop"})
    document = write_report(outcome, spec, tokenizer, folder)
    counts = {name: Counter(row.component for row in load_split(folder, name)) for name in SPLITS}
    for source, tally in zip(document["mixture"]["sources"], outcome.tallies, strict=True):
        name = source["name"]
        assert source["num_rows"] == {split: counts[split][name] for split in SPLITS}
        assert source["num_rows_read"] + source["num_repeats"] == sum(source["num_rows"].values()) + sum(
            source["num_dropped"].values()
        )
        assert tally.ledger.counts == source["num_dropped"]
    tickets, chat = document["mixture"]["sources"]
    assert tickets["num_dropped"]["duplicate"] == 5
    assert tickets["num_dropped"]["wrong columns"] == 1
    assert chat["num_dropped"]["beyond max_samples"] == 150
    assert (counts["validation"]["chat"], counts["test"]["chat"]) == (5, 5), "each source has its share of each split"
    if stopping == "first_exhausted":
        assert (tickets["num_repeats"], chat["num_repeats"]) == (0, 0)
        assert chat["num_dropped"]["left out of the mixture"] == 40 - counts["train"]["chat"] > 0
    else:
        assert tickets["num_repeats"] > 0
        assert counts["train"]["chat"] == 40
    assert document["num_rows_read"] + document["num_repeats"] == document["num_dropped"] + sum(
        split["num_rows"] for split in document["splits"].values()
    )
    assert (tickets["probability"], chat["probability"]) == (0.75, 0.25)
    page = (folder / "report.md").read_text()
    assert "| tickets | 75.0% | 66 |" in page


def test_repeated_rows_are_all_used_before_one_comes_again(write_rows: Write, mix: Mix) -> None:
    sources = [
        {"name": "few", "path": str(write_rows(_pairs("few", 7), "a.jsonl")), "weight": 1.0},
        {"name": "many", "path": str(write_rows(_pairs("many", 90), "b.jsonl")), "weight": 1.0},
    ]
    folder, _ = mix(sources, mixing={"stopping_strategy": "all_exhausted"}, **WHOLE)
    uses = Counter(row.source + str(row.row) for row in load_split(folder, "train") if row.component == "few")
    assert len(uses) == 7
    assert max(uses.values()) - min(uses.values()) <= 1
    rows = load_split(folder, "train")
    assert len({row.row for row in rows if row.component == "many"}) == 90


def test_what_is_left_out_is_not_the_end_of_the_file(write_rows: Write, mix: Mix) -> None:
    sources = [
        {"name": "a", "path": str(write_rows(_pairs("a", 20), "a.jsonl")), "weight": 1.0},
        {"name": "b", "path": str(write_rows(_pairs("b", 200), "b.jsonl")), "weight": 1.0},
    ]
    folder, _ = mix(sources, **WHOLE)
    rows = [row.row for row in load_split(folder, "train") if row.component == "b"]
    assert rows == sorted(rows)
    assert 10 <= len(rows) <= 40
    assert max(rows) > 100
    again, _ = mix(sources, **WHOLE)
    assert (again / "train.arrow").read_bytes() == (folder / "train.arrow").read_bytes()
    other, _ = mix(sources, seed=3, **WHOLE)
    assert (other / "train.arrow").read_bytes() != (folder / "train.arrow").read_bytes()


def test_without_weights_all_rows_are_there_once(write_rows: Write, mix: Mix) -> None:
    sources = [
        {"name": "a", "path": str(write_rows(_pairs("a", 5), "same.jsonl")), "system_prompt": "Be brief."},
        {"name": "b", "path": str(write_rows([{"text": "the quick brown fox"}], "texts.jsonl"))},
    ]
    folder, outcome = mix(sources, **WHOLE)
    rows = load_split(folder, "train")
    assert [(row.component, row.source, row.row) for row in rows] == [
        *(("a", "a/same.jsonl", row) for row in range(1, 6)),
        ("b", "b/texts.jsonl", 1),
    ]
    assert rows[0].messages is not None
    assert rows[0].messages[0] == {"role": "system", "content": "Be brief."}
    assert rows[-1].messages is None
    assert rows[-1].trainable.all()
    assert outcome.strategy == "concatenate"
    assert not outcome.ledger.counts


def test_a_source_may_be_learned_as_text_beside_answers(write_rows: Write, mix: Mix) -> None:
    sources = [
        {"name": "answers", "path": str(write_rows(_pairs("a", 3), "a.jsonl"))},
        {
            "name": "texts",
            "path": str(write_rows([{"text": "word " * 40}, *_pairs("b", 1)][:1], "b.jsonl")),
            "objective": "pretrain",
            "overlong": "split",
        },
    ]
    folder, outcome = mix(sources, max_length=16, **WHOLE)
    rows = load_split(folder, "train")
    texts = [row for row in rows if row.component == "texts"]
    assert len(texts) == outcome.tallies[1].num_added_windows + 1 > 2
    assert all(row.trainable[1:].all() for row in texts)
    assert not any(row.trainable[1:].all() for row in rows if row.component == "answers")


def test_a_text_of_two_sources_is_on_one_side_alone(write_rows: Write, mix: Mix) -> None:
    path = str(write_rows(_pairs("same", 40)))
    sources = [{"name": name, "path": path} for name in ("a", "b")]
    folder, _ = mix(sources, deduplicate=False, validation_fraction=0.3, test_fraction=0.3)
    sides = [{row.reference for row in load_split(folder, name)} for name in SPLITS]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 40
    _, outcome = mix(sources)
    assert outcome.tallies[1].ledger.counts == {"duplicate": 40}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, r"data\.sources\.b\.path: .*b\.jsonl does not exist"),
        ("", r"data\.sources\.b\.path: .*b\.jsonl is empty"),
        ("\n", r"data\.sources\.b\.path: .*holds no rows; expected at least one"),
        ('{"q": 1}\n', r"data\.sources\.b\.path: .*columns found: q; expected one of"),
        ('{"chosen": "a", "rejected": "b"}\n', r"they fit preference, which is for another objective\.type"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(
    tmp_path: Path, write_rows: Write, mix: Mix, rows: str | None, words: str
) -> None:
    if rows is not None:
        (tmp_path / "b.jsonl").write_text(rows)
    sources = [{"name": "a", "path": str(write_rows(_pairs("a", 3), "a.jsonl"))}]
    with pytest.raises(DataError, match=words):
        mix([*sources, {"name": "b", "path": str(tmp_path / "b.jsonl")}])


def test_chats_among_pairs_are_refused(write_rows: Write, mix: Mix) -> None:
    pairs = [{"prompt": f"q {i}", "chosen": "good", "rejected": "bad"} for i in range(4)]
    sources = [
        {"name": "pairs", "path": str(write_rows(pairs, "a.jsonl"))},
        {"name": "chats", "path": str(write_rows(_pairs("b", 4), "b.jsonl"))},
    ]
    with pytest.raises(DataError, match=r"data\.sources\.chats\.path: .*for another objective\.type"):
        mix(sources, DpoSpec(type="dpo"))


def test_a_source_that_loses_all_its_rows_is_named_and_may_be_left_out(write_rows: Write, mix: Mix) -> None:
    long = [{"prompt": "a " * 300, "completion": "b"}]
    sources: list[dict[str, Any]] = [
        {"name": "a", "path": str(write_rows(_pairs("a", 4), "a.jsonl")), "weight": 1.0},
        {"name": "b", "path": str(write_rows(long, "b.jsonl")), "weight": 1.0},
    ]
    with pytest.raises(DataError, match=r"data\.sources\.b: no row is left to train on: 1 read, dropped: 1 overlong"):
        mix(sources, max_length=64, **WHOLE)
    sources[1]["weight"] = 0.0
    folder, outcome = mix(sources, max_length=64, **WHOLE)
    assert {row.component for row in load_split(folder, "train")} == {"a"}
    assert outcome.tallies[1].probability == 0.0


def test_rows_without_end_are_refused(write_rows: Write, mix: Mix) -> None:
    sources = [
        {"name": "a", "path": str(write_rows(_pairs("a", 10), "a.jsonl")), "weight": 1.0},
        {"name": "b", "path": str(write_rows(_pairs("b", 10), "b.jsonl")), "weight": 1e-4},
    ]
    with pytest.raises(DataError, match=r"data\.mixing: until all 10 rows of source 'b' are drawn"):
        mix(sources, mixing={"stopping_strategy": "all_exhausted"}, **WHOLE)


def test_many_batches_stay_in_their_order(write_rows: Write, mix: Mix) -> None:
    sources = [
        {"name": name, "path": str(write_rows([{"text": f"{name} {i}"} for i in range(count)], f"{name}.jsonl"))}
        for name, count in (("a", 1500), ("b", 2600))
    ]
    mixing = {"strategy": "proportional", "stopping_strategy": "all_exhausted"}
    folder, outcome = mix(sources, mixing=mixing, **WHOLE)
    rows = load_split(folder, "train")
    assert len(rows) == 4100 + sum(tally.num_repeats for tally in outcome.tallies)
    for name, count in (("a", 1500), ("b", 2600)):
        own = [row.row for row in rows if row.component == name]
        assert own[:count] == list(range(1, count + 1))
        assert np.all(np.diff(own[count:]) > 0)
