"""Toxic rows, by a real classifier, a real server and a word list, through the real pipeline."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from luthier.spec.objective import DpoSpec
from tests.unit.workers.data.steps.tiny_classifiers import make_judge, make_tagger
from workers.data.dataset import load_split
from workers.data.pipeline import preprocess
from workers.failures import ConfigError, DependencyError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0, "max_length": 4096}
KEY = "key-of-the-test-0123456789"
ROWS = [
    {"prompt": "a kind word", "completion": "thanks"},
    {"prompt": "you FOUL, rotten egg", "completion": "sorry"},
    {"prompt": "well", "completion": "what a foul day"},
    {"prompt": "fouls are counted", "completion": "so"},
]


class Moderation:
    """A server that finds texts with `foul` hateful, after it has failed as it is told to."""

    def __init__(self) -> None:
        self.failures: list[tuple[int, str]] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.url = ""

    def answer(self, path: str, key: str | None, body: dict[str, Any]) -> tuple[int, str]:
        self.keys.add(key)
        self.requests.append({"path": path, **body})
        if self.failures:
            return self.failures.pop(0)
        scores = [0.9 if "foul" in re.findall(r"\w+", text.lower()) else 0.1 for text in body["input"]]
        results = [
            {"flagged": score > 0.5, "category_scores": {"hate": score, "violence": 0.2}, "categories": {}}
            for score in scores
        ]
        return 200, json.dumps({"results": results})


@pytest.fixture
def moderation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Moderation]:
    judge = Moderation()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = judge.answer(self.path, self.headers["Authorization"], body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *arguments: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        judge.url = f"http://127.0.0.1:{server.server_port}/v1"
        monkeypatch.setenv("LUTHIER_MODERATION_URL", judge.url)
        monkeypatch.setenv("LUTHIER_MODERATION_KEY", KEY)
        monkeypatch.setattr("workers.data.steps.toxicity.by_endpoint._FIRST_PAUSE_SECONDS", 0.001)
        yield judge
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_judge(tmp_path_factory.mktemp("judge"), ["foul"])


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("# unkind\nFoul\nrotten  egg\n\n", encoding="utf-8-sig")
    return path


def _kept(outcome: Any, folder: Path) -> list[int]:
    rows = [example.row for example in load_split(folder, "train")]
    assert outcome.num_rows == len(rows) + outcome.ledger.counts.total()
    return rows


def test_a_classifier_drops_rows_over_the_threshold(write_rows: Write, run: Run, judge_folder: Path) -> None:
    toxicity = {"classifier": {"type": "model", "path": str(judge_folder)}}
    folder, outcome = run(write_rows(ROWS), toxicity=toxicity, **WHOLE)
    assert _kept(outcome, folder) == [1, 4]
    assert outcome.ledger.counts == {"toxic": 2}
    assert outcome.ledger.first["toxic"][0].detail.startswith("toxic, score 0.9")
    folder, outcome = run(write_rows(ROWS), toxicity={**toxicity, "threshold": 1.0}, **WHOLE)
    assert _kept(outcome, folder) == [1, 2, 3, 4]


def test_a_long_text_is_judged_to_its_end(write_rows: Write, run: Run, judge_folder: Path) -> None:
    rows = [{"prompt": "plain " * 500, "completion": "a"}, {"prompt": "plain " * 500 + "foul " * 9, "completion": "b"}]
    folder, outcome = run(
        write_rows(rows), toxicity={"classifier": {"type": "model", "path": str(judge_folder)}}, **WHOLE
    )
    assert _kept(outcome, folder) == [1]


def test_rows_are_only_counted_with_report(write_rows: Write, run: Run, words: Path) -> None:
    toxicity = {"classifier": {"type": "words", "path": str(words)}, "action": "report"}
    folder, outcome = run(write_rows(ROWS), toxicity=toxicity, **WHOLE)
    assert _kept(outcome, folder) == [1, 2, 3, 4]
    assert outcome.repairs.counts == {"toxic text found": 2}


def test_a_word_list_counts_whole_words_and_phrases_in_any_case(write_rows: Write, run: Run, words: Path) -> None:
    words.write_text("rotten egg\nDAY\n")
    rows = [*ROWS, {"prompt": "rotten\nEGG", "completion": "a"}, {"prompt": "rotten eggs today", "completion": "b"}]
    folder, outcome = run(write_rows(rows), toxicity={"classifier": {"type": "words", "path": str(words)}}, **WHOLE)
    assert _kept(outcome, folder) == [1, 4, 6]
    details = [fault.detail for fault in outcome.ledger.first["toxic"]]
    assert [detail.split(",")[0] for detail in details] == [
        "the listed 'rotten egg'",
        "the listed 'day'",
        "the listed 'rotten egg'",
    ]


def test_rejected_answers_are_judged(write_rows: Write, run: Run, words: Path) -> None:
    rows = [{"prompt": f"q{n}", "chosen": "good", "rejected": answer} for n, answer in enumerate(("bad", "foul"))]
    toxicity = {"classifier": {"type": "words", "path": str(words)}}
    folder, outcome = run(write_rows(rows), objective=DpoSpec(type="dpo"), toxicity=toxicity, **WHOLE)
    assert _kept(outcome, folder) == [1]


def test_an_endpoint_is_asked_with_its_key_and_asked_again(
    write_rows: Write, run: Run, moderation: Moderation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    moderation.failures = [(503, "busy"), (200, "<html>"), (200, '{"results": []}')]
    toxicity = {"classifier": {"type": "endpoint", "model": "judge-1", "categories": ["hate"]}}
    folder, outcome = run(write_rows(ROWS), toxicity=toxicity, **WHOLE)
    assert _kept(outcome, folder) == [1, 4]
    assert len(moderation.requests) == 4
    assert moderation.requests[-1]["path"] == "/v1/moderations"
    assert moderation.requests[-1]["model"] == "judge-1"
    assert moderation.keys == {f"Bearer {KEY}"}
    assert KEY not in caplog.text
    assert "foul" not in caplog.text


def test_an_endpoint_that_does_not_answer_fails_the_job(write_rows: Write, run: Run, moderation: Moderation) -> None:
    moderation.failures = [(500, f"broken, your key was {KEY}")] * 5
    with pytest.raises(DependencyError, match=r"does not answer after 5 tries: it answered 500: broken") as caught:
        run(write_rows(ROWS), toxicity={"classifier": {"type": "endpoint"}}, **WHOLE)
    assert KEY not in str(caught.value)


def test_an_endpoint_that_refuses_is_not_asked_again(write_rows: Write, run: Run, moderation: Moderation) -> None:
    moderation.failures = [(401, "no such key")]
    with pytest.raises(ConfigError, match=r"LUTHIER_MODERATION_URL .*/moderations answered 401: no such key"):
        run(write_rows(ROWS), toxicity={"classifier": {"type": "endpoint"}}, **WHOLE)
    assert len(moderation.requests) == 1
    with pytest.raises(ConfigError, match=r"the endpoint has no 'spite'; name some of hate, violence"):
        run(write_rows(ROWS), toxicity={"classifier": {"type": "endpoint", "categories": ["spite"]}}, **WHOLE)


def test_a_worker_without_an_endpoint_says_so(write_rows: Write, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"knows no moderation endpoint; set its LUTHIER_MODERATION_URL"):
        run(write_rows(ROWS), toxicity={"classifier": {"type": "endpoint"}}, **WHOLE)


def test_what_cannot_judge_is_refused(write_rows: Write, run: Run, judge_folder: Path, tmp_path: Path) -> None:
    path = write_rows(ROWS)
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary.txt"
    empty.write_text("# nothing\n\n")
    binary.write_bytes(b"\xff\xfe")
    tagger = make_tagger(tmp_path / "tagger", ["foul"], labels=("fine", "toxic"))
    plain = make_judge(tmp_path / "plain", ["foul"], labels=("LABEL_0", "LABEL_1"))
    for classifier, message in (
        (
            {"type": "model", "path": str(judge_folder), "labels": ["rude"]},
            r"no label 'rude'; name those of fine, toxic",
        ),
        ({"type": "model", "path": str(plain)}, r"no label with `toxic` in its name; name those of LABEL_0, LABEL_1"),
        ({"type": "model", "path": str(tagger)}, r"has no weights for .*, so it is no trained classifier"),
        ({"type": "model", "path": str(tmp_path)}, r"data\.toxicity\.classifier\.path .* has no config\.json"),
        ({"type": "words", "path": str(tmp_path / "none.txt")}, r"cannot read .*none\.txt: No such file"),
        ({"type": "words", "path": str(empty)}, r"empty\.txt has no words; expected one per line"),
        ({"type": "words", "path": str(binary)}, r"binary\.txt is not UTF-8 \(byte 0\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(path, toxicity={"classifier": classifier}, **WHOLE)


def test_what_the_worker_may_not_read_is_not_read(
    write_rows: Write, words: Path, tokenizer: PreTrainedTokenizerBase, recorder: Any, tmp_path: Path
) -> None:
    path = write_rows(ROWS)
    (tmp_path / "out").mkdir()

    def readable(path: str, key: str) -> None:
        if path.endswith("words.txt"):
            raise ConfigError(f"{key} {path} is outside")

    spec = DataSpec(path=str(path), toxicity={"classifier": {"type": "words", "path": str(words)}})
    with pytest.raises(ConfigError, match=r"data\.toxicity\.classifier\.path .*words\.txt is outside"):
        preprocess(spec, tokenizer, tmp_path / "out", readable, recorder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classifier": {"type": "words", "path": "w"}, "threshold": 0.7}, "threshold has no use with a word list"),
        ({"classifier": {"type": "oracle"}}, "does not match any of the expected tags"),
        ({"classifier": {"type": "endpoint", "url": "http://x"}}, "Extra inputs are not permitted"),
        ({"classifier": {"type": "endpoint"}, "threshold": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSpec(path="x", toxicity=settings)
