"""`data.select`: which rows stay is exact, seeded, counted, and a matter of training rows alone."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.spec import DataSpec, PretrainSpec
from tests.unit.workers.data.conftest import Recorder
from tests.unit.workers.data.select.topics import CLASSES, labelled_rows
from workers.data.dataset import load_split
from workers.data.outcome import Outcome
from workers.data.pipeline import preprocess
from workers.data.report import write_report
from workers.data.select.features import HashedWords
from workers.data.select.influence import allot
from workers.failures import ConfigError

Write = Callable[..., Path]
Run = Callable[..., tuple[Path, Outcome]]


def _chats(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(count)]


def _rows_of(folder: Path, split: Any = "train") -> list[int]:
    return sorted(row.row for row in load_split(folder, split))


@pytest.mark.parametrize(
    ("select", "kept", "reason"),
    [
        ({"fraction": 0.25}, 20, "not drawn by select.fraction"),
        ({"fraction": 0.001}, 1, "not drawn by select.fraction"),
        ({"max_rows": 30}, 30, "beyond select.max_rows"),
        ({"max_rows": 3000}, 80, None),
        ({"influence": {"keep": 0.3}}, 24, "others stand for it (select.influence)"),
        ({"influence": {"keep": 0.3, "hard": 1.0, "num_clusters": 7}}, 24, "others stand for it (select.influence)"),
        ({"fraction": 0.5, "influence": {"keep": 0.5}, "max_rows": 15}, 15, "beyond select.max_rows"),
    ],
)
def test_sizes_are_exact_and_other_splits_are_left_alone(
    write_rows: Write, run: Run, tokenizer: Any, select: dict[str, Any], kept: int, reason: str | None
) -> None:
    path = write_rows(_chats(100))
    whole, _ = run(path)
    folder, outcome = run(path, select=select)
    for split in ("validation", "test"):
        assert _rows_of(folder, split) == _rows_of(whole, split)
    assert set(_rows_of(folder)) <= set(_rows_of(whole))
    assert len(_rows_of(folder)) == kept
    assert outcome.ledger.counts.total() == 80 - kept
    if reason is not None:
        assert outcome.ledger.counts[reason] > 0
        assert len(outcome.ledger.first[reason]) == min(20, outcome.ledger.counts[reason])
    spec = DataSpec.model_validate({"path": str(path), "select": select})
    document = write_report(outcome, spec, tokenizer, folder)
    num_kept = sum(split["num_rows"] for split in document["splits"].values())
    assert document["num_rows_read"] == num_kept + document["num_dropped"]


def test_a_draw_depends_on_the_seed_alone_and_a_smaller_one_is_part_of_a_larger_one(
    write_rows: Write, run: Run
) -> None:
    rows = _chats(60)
    shuffled = random.Random(3).sample(rows, len(rows))

    def prompts(path: Path, **settings: Any) -> set[str]:
        return {row.prompt[0]["content"] for row in load_split(run(path, **settings)[0], "train")}

    few = prompts(write_rows(rows), select={"max_rows": 10})
    assert few == prompts(write_rows(shuffled, "shuffled.jsonl"), select={"max_rows": 10})
    assert few < prompts(write_rows(rows), select={"max_rows": 20})
    assert few != prompts(write_rows(rows), select={"max_rows": 10}, seed=1)


def test_no_class_has_more_rows_than_its_cap(write_rows: Write, run: Run) -> None:
    path = write_rows(labelled_rows(billing=40, login=25, delivery=4))
    folder, outcome = run(path, CLASSES, select={"max_per_class": 10}, validation_fraction=0.0, test_fraction=0.0)
    assert Counter(row.label for row in load_split(folder, "train")) == {"billing": 10, "login": 10, "delivery": 4}
    assert outcome.ledger.counts == {"beyond select.max_per_class": 45}


def test_every_source_has_its_share(write_rows: Write, tmp_path: Path, tokenizer: Any, recorder: Recorder) -> None:
    sources = [
        {"name": name, "path": str(write_rows([{"prompt": f"{name} {i}", "completion": "x"} for i in range(n)], name))}
        for name, n in (("big.jsonl", 40), ("small.jsonl", 20))
    ]
    for source in sources:
        source["name"] = source["name"].removesuffix(".jsonl")
    for select in ({"fraction": 0.5}, {"influence": {"keep": 0.5}}):
        folder = tmp_path / next(iter(select))
        folder.mkdir()
        spec = DataSpec.model_validate(
            {"sources": sources, "select": select, "validation_fraction": 0.0, "test_fraction": 0.0}
        )
        preprocess(spec, tokenizer, folder, lambda path, key: None, recorder)
        assert Counter(row.component for row in load_split(folder, "train")) == {"big": 20, "small": 10}


def test_a_core_set_has_more_of_what_is_seldom_said(write_rows: Write, run: Run) -> None:
    path = write_rows(labelled_rows(billing=80, login=12, delivery=8))
    folder, _ = run(
        path,
        CLASSES,
        select={"influence": {"keep": 0.24, "num_clusters": 6}},
        validation_fraction=0.0,
        test_fraction=0.0,
    )
    kept = Counter(row.label for row in load_split(folder, "train"))
    assert kept.total() == 24
    assert kept["billing"] / 80 < 0.24 < min(kept["login"] / 12, kept["delivery"] / 8)


def test_hard_rows_are_the_far_ones_of_their_cluster(write_rows: Write, run: Run) -> None:
    usual = [{"text": f"invoice payment refund card charge amount number {i}"} for i in range(30)]
    odd = [{"text": f"{word} sings {word} dances {word} sleeps"} for word in ("zebra", "piano", "comet")]
    settings = {"validation_fraction": 0.0, "test_fraction": 0.0}
    path = write_rows([*usual, *odd])
    kept = {}
    for hard in (0.0, 1.0):
        influence = {"keep": 3 / 33, "hard": hard, "num_clusters": 1}
        folder, _ = run(path, PretrainSpec(type="pretrain"), select={"influence": influence}, **settings)
        kept[hard] = _rows_of(folder)
    assert kept[1.0] == [31, 32, 33]
    assert max(kept[0.0]) <= 30


def test_a_core_set_by_a_model_of_ones_own(write_rows: Write, run: Run, tiny_model_dir: Path, tmp_path: Path) -> None:
    path = write_rows(_chats(40))
    influence = {"keep": 0.5, "embedding_model": str(tiny_model_dir)}
    first, again = (run(path, select={"influence": influence})[0] for _ in range(2))
    assert len(_rows_of(first)) == 16
    assert _rows_of(first) == _rows_of(again)
    with pytest.raises(ConfigError, match=r"embedding_model.*cannot be loaded.*safetensors"):
        run(path, select={"influence": {"keep": 0.5, "embedding_model": str(tmp_path)}})


def test_places_are_given_to_all_clusters_alike_as_far_as_they_have_rows() -> None:
    assert allot([10, 10, 10], 9) == [3, 3, 3]
    assert allot([1, 10, 4], 12) == [1, 7, 4]
    assert allot([0, 5], 5) == [0, 5]
    draw = np.random.default_rng(0)
    for _ in range(200):
        sizes = draw.integers(0, 9, size=draw.integers(1, 8)).tolist()
        total = int(draw.integers(0, sum(sizes) + 1))
        quotas = allot(sizes, total)
        assert sum(quotas) == total
        assert all(quota <= size for quota, size in zip(quotas, sizes, strict=True))
        unfilled = [quota for quota, size in zip(quotas, sizes, strict=True) if quota < size]
        assert not unfilled or max(quotas) <= min(unfilled) + 1


def test_hashed_words_know_scripts_without_spaces() -> None:
    first, second, other = HashedWords()(["今日は良い天気です", "明日は良い天気です", "パスワードを忘れた"])
    assert first @ second > 0.5 > first @ other


def test_a_selection_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is asked"):
        DataSpec.model_validate({"path": "rows.jsonl", "select": {}})
