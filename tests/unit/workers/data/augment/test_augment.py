"""`data.augment` by rule: as many rows as are missing, made of training rows alone, marked, counted and seeded."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.spec import ClassificationSpec, DataSpec, PretrainSpec
from tests.unit.workers.data.conftest import Recorder
from workers.data.dataset import SPLITS, load_split
from workers.data.outcome import Outcome
from workers.data.pipeline import preprocess
from workers.data.report import write_report
from workers.failures import ConfigError, PreemptedError

Write = Callable[..., Path]
Run = Callable[..., tuple[Path, Outcome]]
WORDS = ["refund", "invoice", "payment", "account", "password", "parcel", "courier", "browser", "address", "receipt"]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def _chats(count: int) -> list[dict[str, str]]:
    draw = random.Random(1)
    return [
        {"prompt": f"{' '.join(draw.sample(WORDS, 6))} {i}", "completion": f"solved number {i}"} for i in range(count)
    ]


def _document(outcome: Outcome, tokenizer: Any, folder: Path, **data: Any) -> dict[str, Any]:
    return write_report(outcome, DataSpec.model_validate(data), tokenizer, folder)


def test_rows_are_made_until_there_are_enough(write_rows: Write, run: Run, tokenizer: Any) -> None:
    path = write_rows(_chats(40))
    augment = {"min_samples": 70, "methods": ["typos"]}
    folder, outcome = run(path, augment=augment)
    rows = load_split(folder, "train")
    assert len(rows) == 70
    assert Counter(row.augmented for row in rows) == {"": 32, "typos": 38}
    originals = {row.row: row for row in rows if not row.augmented}
    for row in rows:
        if row.augmented:
            origin = originals[row.row]
            assert row.source == origin.source
            assert row.reference == origin.reference, "answers stay as they are"
            assert row.prompt != origin.prompt
    for split in ("validation", "test"):
        assert {row.augmented for row in load_split(folder, split)} == {""}
        assert not {row.row for row in load_split(folder, split)} & set(originals)
    document = _document(outcome, tokenizer, folder, path=str(path), augment=augment)
    assert document["num_augmented"] == 38
    assert document["augmentation"]["num_wanted"] == document["augmentation"]["num_added"] == 38
    kept = sum(split["num_rows"] for split in document["splits"].values())
    assert document["num_rows_read"] + document["num_augmented"] == kept + document["num_dropped"]
    assert "## Added rows" in (folder / "report.md").read_text()
    assert "38 training rows made of others or repeated, of 38" in (folder / "report.html").read_text()


def test_nothing_is_made_where_there_is_enough(write_rows: Write, run: Run, tokenizer: Any) -> None:
    path = write_rows(_chats(20))
    folder, outcome = run(path, augment={"min_samples": 16, "methods": ["typos"]})
    assert len(load_split(folder, "train")) == 16
    assert _document(outcome, tokenizer, folder, path=str(path))["augmentation"] is None


def test_the_same_job_makes_the_same_rows(write_rows: Write, run: Run) -> None:
    path = write_rows(_chats(20))

    def made(**settings: Any) -> list[Any]:
        folder, _ = run(path, augment={"min_samples": 40, "methods": ["typos"]}, **settings)
        return [(row.row, row.messages) for row in load_split(folder, "train")]

    assert made() == made() != made(seed=1)


def test_methods_take_turns_and_a_row_has_at_most_max_copies(
    write_rows: Write, run: Run, tokenizer: Any, tmp_path: Path
) -> None:
    thesaurus = tmp_path / "words.dat"
    thesaurus.write_text("UTF-8\n" + "".join(f"{word}|1\n(noun)|{word[::-1]}x\n" for word in WORDS))
    path = write_rows(_chats(10))
    augment = {
        "min_samples": 1000,
        "methods": ["typos", "synonyms"],
        "max_copies": 3,
        "thesaurus": str(thesaurus),
        "synonym_rate": 0.5,
    }
    folder, outcome = run(path, augment=augment, **WHOLE)
    rows = load_split(folder, "train")
    assert Counter(row.row for row in rows) == dict.fromkeys(range(1, 11), 4)
    made = Counter(row.augmented for row in rows)
    assert made["typos"] == made["synonyms"] == 15
    assert len({row.prompt[0]["content"] for row in rows}) == 40
    document = _document(outcome, tokenizer, folder, path=str(path), augment=augment)
    assert document["augmentation"]["num_wanted"] == 990
    assert any("960 training rows fewer were made" in warning for warning in document["warnings"])


def test_what_is_learned_stays_unless_asked(write_rows: Write, run: Run, tokenizer: Any) -> None:
    texts = [{"text": row["prompt"]} for row in _chats(12)]
    pretrain = PretrainSpec(type="pretrain")
    path = write_rows(texts)
    _, outcome = run(path, pretrain, augment={"min_samples": 20, "methods": ["typos"]}, **WHOLE)
    assert outcome.augmentation.num_added == 0
    assert outcome.augmentation.refused.counts == {"only answers, which are kept": 12 * 4}
    folder, _ = run(path, pretrain, augment={"min_samples": 20, "methods": ["typos"], "answers": True}, **WHOLE)
    assert Counter(row.augmented for row in load_split(folder, "train")) == {"": 12, "typos": 8}
    chats, settings = (
        write_rows(_chats(12), "chats.jsonl"),
        {"augment": {"min_samples": 20, "methods": ["typos"]}, **WHOLE},
    )
    _, outcome = run(chats, pretrain, **settings)
    assert outcome.augmentation.num_added == 0, "of such a chat questions are learned as well"
    labelled = write_rows([{**row, "label": "ab"[i % 2]} for i, row in enumerate(texts)], "labelled.jsonl")
    folder, _ = run(
        labelled,
        ClassificationSpec(type="classification", labels=["a", "b"]),
        augment={"min_samples": 20, "methods": ["typos"]},
        **WHOLE,
    )
    labels = {row.row: row.label for row in load_split(folder, "train") if not row.augmented}
    assert all(row.label == labels[row.row] for row in load_split(folder, "train"))


def test_nothing_that_is_made_is_like_a_row_that_is_held_out(write_rows: Write, run: Run) -> None:
    text = " ".join(f"{word} {other}" for word in WORDS for other in WORDS[:3])
    rows = [{"prompt": f"{text} {i}", "completion": "the same answer to all of them"} for i in range(8)]
    other = _chats(8)
    folder, outcome = run(
        write_rows(rows + other),
        test_path=str(write_rows([{"prompt": f"{text} held out", "completion": "another answer"}], "test.jsonl")),
        validation_fraction=0.0,
        augment={"min_samples": 100, "methods": ["typos"], "typo_rate": 0.001},
    )
    assert outcome.augmentation.refused.counts["like a validation or test row"] == 8 * 4
    made = {row.row for row in load_split(folder, "train") if row.augmented}
    assert made == set(range(9, 17))


def test_rows_that_are_made_go_through_the_same_limits(write_rows: Write, run: Run, tokenizer: Any) -> None:
    rows = [*_chats(6), {"prompt": "parcel " * 100, "completion": "far too long"}]
    path = write_rows(rows)
    augment = {"min_samples": 14, "methods": ["typos"]}
    folder, outcome = run(path, augment=augment, max_length=300, **WHOLE)
    assert outcome.ledger.counts["overlong"] == 2
    document = _document(outcome, tokenizer, folder, path=str(path), augment=augment)
    assert document["num_rows_read"] + document["num_augmented"] == 14
    assert document["splits"]["train"]["num_rows"] == 12


def test_copies_for_balance_are_rewritten_if_asked(write_rows: Write, run: Run) -> None:
    rows = [{"text": row["prompt"], "label": "much" if i < 20 else "little"} for i, row in enumerate(_chats(25))]
    folder, outcome = run(
        write_rows(rows),
        ClassificationSpec(type="classification", labels=["much", "little"]),
        balance={"method": "smote", "rewrite": True},
        augment={"min_samples": 1, "methods": ["typos"]},
        **WHOLE,
    )
    made = load_split(folder, "train")
    assert Counter(row.label for row in made) == {"much": 20, "little": 20}
    assert Counter(row.augmented for row in made) == {"": 25, "typos": 15}
    assert outcome.augmentation.num_wanted == 15


def test_every_source_counts_its_own(write_rows: Write, tmp_path: Path, tokenizer: Any, recorder: Recorder) -> None:
    names = ("first", "second")
    rows = _chats(20)
    sources = [
        {"name": name, "path": str(write_rows(rows[i * 10 : i * 10 + 10], f"{name}.jsonl")), "weight": 1.0}
        for i, name in enumerate(names)
    ]
    data = {
        "sources": sources,
        "augment": {"min_samples": 30, "methods": ["typos"]},
        "mixing": {"stopping_strategy": "all_exhausted"},
        **WHOLE,
    }
    folder = tmp_path / "out"
    folder.mkdir()
    outcome = preprocess(DataSpec.model_validate(data), tokenizer, folder, lambda path, key: None, recorder)
    document = _document(outcome, tokenizer, folder, **data)
    assert document["num_augmented"] == 10
    made = [row for row in load_split(folder, "train") if row.augmented]
    assert {row.component for row in made} <= set(names)
    for source in document["mixture"]["sources"]:
        added = sum(source["num_augmented"].values())
        assert source["num_rows_read"] + added + source["num_repeats"] == sum(source["num_rows"].values()) + sum(
            source["num_dropped"].values()
        )


def test_a_drain_is_heeded(write_rows: Write, run: Run, recorder: Recorder) -> None:
    path = write_rows(_chats(30))
    run(path, augment={"min_samples": 200, "methods": ["typos"], "max_copies": 50}, **WHOLE)
    makes = [number for number, step in enumerate(recorder.steps) if step[2] == "making training rows"]
    assert len(makes) > 3
    recorder.steps.clear()
    recorder.stops_after = makes[1]
    with pytest.raises(PreemptedError):
        run(path, augment={"min_samples": 200, "methods": ["typos"], "max_copies": 50}, **WHOLE)


def test_a_model_is_not_to_be_had_everywhere(write_rows: Write, run: Run) -> None:
    augment = {"min_samples": 50, "methods": ["paraphrase"], "writer": {"model": "base"}}
    with pytest.raises(ConfigError, match=r"data\.augment\.writer: there is no model"):
        run(write_rows(_chats(5)), augment=augment)


def test_splits_have_a_mark_column_even_with_nothing_made(write_rows: Write, run: Run) -> None:
    folder, _ = run(write_rows(_chats(5)))
    assert {row.augmented for split in SPLITS for row in load_split(folder, split)} == {""}
