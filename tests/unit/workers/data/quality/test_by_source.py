"""The quality score of each source by itself, beside that of all rows."""

import re

import pytest

from luthier.spec import ClassificationSpec, DataSpec, SftSpec
from workers.data.pipeline import preprocess
from workers.data.report import write_report

ALL = {"validation_fraction": 0.0, "test_fraction": 0.0}
TOPICS = ["bread", "ships", "rain", "trains", "stars", "tea", "maps", "clocks", "music", "stones"]


def _rows(count, first=0):
    return [
        {
            "prompt": f"What is the use of {TOPICS[number % 10]} in case {number}?",
            "completion": f"Most people who know about {TOPICS[number % 10]} would say that it helps a lot, {number}.",
        }
        for number in range(first, first + count)
    ]


@pytest.fixture
def run_sources(tmp_path, tokenizer, recorder, write_rows):
    """Preprocesses a source per list of rows; returns the outcome and the three reports."""

    def run(sources, objective=None, **settings):
        output = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        output.mkdir()
        named = [{"name": name, "path": str(write_rows(rows, f"{name}.jsonl"))} for name, rows in sources.items()]
        spec = DataSpec(sources=named, **ALL, **settings)
        outcome = preprocess(spec, tokenizer, output, lambda path, key: None, recorder, objective or SftSpec())
        document = write_report(outcome, spec, tokenizer, output)
        return outcome, document, (output / "report.md").read_text(), (output / "report.html").read_text()

    return run


def _parts(source):
    return {part["name"]: part["value"] for part in source["parts"]}


def test_the_faults_of_a_source_are_its_own(run_sources):
    poor = [*_rows(7, 100), {"prompt": 1, "completion": "x"}, {"prompt": "so", "completion": "schÃ¶n"}, *_rows(1)]
    _, document, page, html = run_sources({"good": _rows(20), "poor": poor}, on_invalid_row="drop")
    good, bad = document["quality"]["sources"]
    assert (good["name"], good["num_read"], good["num_good"]) == ("good", 20, 20)
    assert (bad["name"], bad["num_read"], bad["num_good"]) == ("poor", 10, 9)
    assert {_parts(good)[name] for name in ("validity", "completeness", "encoding", "uniqueness")} == {1.0}
    assert _parts(bad)["validity"] == 0.9
    assert _parts(bad)["encoding"] == pytest.approx(8 / 9)
    assert _parts(bad)["uniqueness"] == pytest.approx(8 / 9), "the row that a row of another source is like"
    assert good["score"] > document["quality"]["score"] > bad["score"]
    assert document["quality"]["num_read"] == 30
    for name, score in ((source["name"], source["score"]) for source in (good, bad)):
        assert f"\n| {name} | {10 if name == 'poor' else 20} | {score} | " in page
        row = re.search(rf"<tr><td[^>]*>{name}</td>.*?</tr>", html[html.index('id="quality-by-source"') :], re.DOTALL)
        assert f">{score}</td>" in row.group()


def test_the_score_of_a_source_is_that_of_a_job_of_its_rows_alone(run_sources, run, write_rows):
    sources = {"first": [*_rows(30), *_rows(3)], "second": [*_rows(9, 50), {"prompt": "x", "completion": "z" * 60}]}
    outcome, _, _, _ = run_sources(sources)
    for own, rows in zip(outcome.quality_by_part, sources.values(), strict=True):
        alone = run(write_rows(rows), **ALL)[1].quality
        assert own.parts == alone.parts
        assert own.document() | {"broken_characters": []} == alone.document() | {"broken_characters": []}


def test_classes_count_for_the_source_that_has_them(run_sources):
    even = [{"text": f"row {number} of them", "label": "ab"[number % 2]} for number in range(20)]
    odd = [{"text": f"item {number} here", "label": "a" if number else "b"} for number in range(20)]
    twice = [{"text": "row 0 of them", "label": "b"}]
    objective = ClassificationSpec(type="classification", labels=["a", "b"])
    outcome, document, _, _ = run_sources({"even": even, "odd": odd, "twice": twice}, objective, deduplicate=False)
    first, second, third = document["quality"]["sources"]
    assert _parts(first)["balance"] == pytest.approx(1.0)
    assert 0 < _parts(second)["balance"] < 0.5
    assert _parts(third)["balance"] == 0.0
    assert outcome.quality.labels.num_conflicting == 2
    assert [own.labels.num_conflicting for own in outcome.quality_by_part] == [0, 0, 0]


def test_a_part_that_a_source_lacks_is_a_dash(run_sources):
    told = [{"text": f"row {number} of them", "label": "ab"[number % 2]} for number in range(12)]
    sources = {"told": told, "broken": [{"text": 3, "label": "a"}] * 3}
    objective = ClassificationSpec(type="classification", labels=["a", "b"])
    _, document, page, html = run_sources(sources, objective, on_invalid_row="drop")
    told, broken = map(_parts, document["quality"]["sources"])
    assert set(told) - set(broken) == {"balance", "labels"}
    assert re.search(r"\n\| broken \| 3 \| [\d.]+ \|.* \| - \| - \|\n", page)
    row = re.search(r"<tr><td[^>]*>broken</td>.*?</tr>", html[html.index('id="quality-by-source"') :], re.DOTALL)
    assert row.group().count(">-</td>") == 2


@pytest.mark.parametrize("quality", [{}, {"report": False}])
def test_one_source_or_no_look_has_no_table(run_sources, quality):
    _, document, page, html = run_sources({"only": _rows(12)}, quality=quality)
    assert (document["quality"] or {"sources": []})["sources"] == []
    assert "Quality by source" not in page
    assert "quality-by-source" not in html


def test_a_source_of_which_nothing_is_left_has_a_score_too(run_sources):
    bad = [{"prompt": 1, "completion": "x"}] * 3
    _, document, _, _ = run_sources({"good": _rows(12), "bad": bad}, on_invalid_row="drop")
    source = document["quality"]["sources"][1]
    assert (source["num_read"], source["num_good"], _parts(source)["validity"]) == (3, 0, 0.0)
    assert document["splits"]["train"]["num_rows"] == 12
