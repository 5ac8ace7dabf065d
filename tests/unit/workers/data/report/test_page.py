"""The web page of a report: all that report.json says, and nothing of people's rows as markup."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from workers.data.report import write_report
from workers.data.report.page import html_page
from workers.data.report.page.charts import histogram

EVIL = "<script>alert('x')</script><img src=http://example.com/x>"


class Tags(HTMLParser):
    """Which elements a page has, and whether each one that opens is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("meta", "link", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass


@pytest.fixture
def reported(
    write_rows: Callable[..., Path], run: Callable[..., Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, Any], str]:
    rows: list[Any] = [{"prompt": f"{EVIL} question {i}", "completion": f"{EVIL} answer {i}"} for i in range(20)]
    path = write_rows([*rows, {"prompt": EVIL, "completion": ""}, rows[0]])
    settings = {"on_invalid_row": "drop", "system_prompt": EVIL}
    folder, outcome = run(path, **settings)
    document = write_report(outcome, DataSpec(path=str(path), **settings), tokenizer, folder)
    return document, (folder / "report.html").read_text()


def test_words_of_rows_are_never_markup(reported: tuple[dict[str, Any], str]) -> None:
    _, page = reported
    found = Tags(page)
    assert not {"script", "img", "iframe", "object"} & set(found.names)
    assert found.open == []
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "default-src 'none'" in page


def test_the_page_says_what_the_report_says(reported: tuple[dict[str, Any], str]) -> None:
    document, page = reported
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for entry in document["dropped"]:
        assert entry["reason"] in words
        assert entry["rows"][0]["source"] in words
    assert {entry["reason"] for entry in document["dropped"]} == {"empty", "duplicate"}
    assert f"{document['splits']['train']['num_trainable_tokens']:,}" in words
    assert document["sources"][0]["sha256"][:12] in words
    assert page.count("<mark>") == 1 + sum(
        segment["trained"] for sample in document["samples"] for segment in sample["segments"]
    )
    assert page.count('class="histogram"') == sum("lengths" in split for split in document["splits"].values())


def test_a_report_without_the_optional_parts_has_a_page(reported: tuple[dict[str, Any], str]) -> None:
    document, _ = reported
    page = html_page(document | {"quality": None, "clusters": None, "samples": [], "dropped": [], "warnings": []})
    assert 'id="quality"' not in page
    assert 'id="clusters"' not in page
    assert page.count("Nothing.") >= 1


def test_rows_without_a_token_to_train_on_are_not_called_so(reported: tuple[dict[str, Any], str]) -> None:
    document, page = reported
    for trained_on, says in (("labels", "learned as a whole"), ("answers", "are written in training")):
        other = html_page(document | {"trained_on": trained_on})
        for words, is_there in (("tokens to train on", False), ("what is coloured", False), (says, True)):
            assert (words in other, words in page) == (is_there, not is_there)


def test_many_files_are_counted_at_the_top(reported: tuple[dict[str, Any], str]) -> None:
    document, _ = reported
    head = html_page(document | {"sources": document["sources"] * 1000}).split("</header>")[0]
    assert head.count("rows.jsonl") == 5
    assert "and 995 more" in head


def test_clusters_that_are_not_there_are_not_announced(reported: tuple[dict[str, Any], str]) -> None:
    document, _ = reported
    page = html_page(document | {"clusters": {"num_rows": 0, "num_clusters": 0, "first": []}})
    assert "0 clusters of rows that are nearly equal." in page


def test_bars_are_as_high_as_their_counts() -> None:
    chart = histogram({"edges": [0, 10, 20, 30], "counts": [1, 4, 2]}, "tokens", "rows")
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"><title>', chart)]
    assert heights[1] == pytest.approx(2 * heights[2])
    assert heights[1] == pytest.approx(4 * heights[0], rel=0.01)
    assert "<title>10 to 19 tokens: 4</title>" in chart
    assert "&lt;b&gt;" in histogram({"edges": [0, 1], "counts": [0]}, "<b>", "rows")
