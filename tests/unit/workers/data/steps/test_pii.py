"""Personal data in rows, through the real pipeline; and how much of it is found, on texts that say what they hold."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from luthier.spec.data.pii import PiiSpec
from luthier.spec.objective import DpoSpec
from tests.unit.workers.data.steps.personal_data import WITHOUT, drawn_secrets, labelled_texts
from workers.data.dataset import load_split
from workers.data.steps.pii.recognisers import Recognisers
from workers.failures import ConfigError, DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0, "max_length": 4096}
REDACT = {"action": "redact"}
LEAST_PRECISION, LEAST_RECALL = 0.98, 0.95


def _rows(*texts: str) -> list[dict[str, str]]:
    return [{"prompt": text, "completion": f"answer {number}"} for number, text in enumerate(texts)]


def _prompts(folder: Path) -> list[str]:
    return [row.prompt[0]["content"] for row in load_split(folder, "train")]


def test_what_is_found_of_what_is_there() -> None:
    recognisers = Recognisers(PiiSpec(action="report"))
    texts = labelled_texts()
    suspects = set(recognisers.suspects([text for text, _ in texts]))
    right, wrong, missed = Counter[str](), Counter[str](), Counter[str]()
    for index, (text, held) in enumerate(texts):
        found = (
            Counter((s.kind, text[s.start : s.end]) for s in recognisers.find(text)) if index in suspects else Counter()
        )
        expected = Counter(held)
        right.update(kind for kind, _ in (found & expected).elements())
        wrong.update(kind for kind, _ in (found - expected).elements())
        missed.update(kind for kind, _ in (expected - found).elements())
    precision = right.total() / (right.total() + wrong.total())
    recall = right.total() / (right.total() + missed.total())
    print(f"{len(texts)} texts: precision {precision:.3f}, recall {recall:.3f}; wrong {wrong}, missed {missed}")
    assert precision >= LEAST_PRECISION
    assert recall >= LEAST_RECALL
    for kind in set(right) | set(missed):
        assert right[kind] / (right[kind] + missed[kind]) >= 0.8, kind


@pytest.mark.parametrize("text", WITHOUT)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert Recognisers(PiiSpec(action="report")).find(text) == []


def test_every_text_of_a_row_is_redacted_and_counted_by_kind(write_rows: Write, run: Run) -> None:
    rows = _rows("mail jane.doe@example.com or jane.doe@example.com", "nothing here", "call +1 202-555-0143")
    rows[1]["completion"] = "from 203.0.113.7"
    folder, outcome = run(write_rows(rows), pii=REDACT, **WHOLE)
    assert _prompts(folder) == ["mail <EMAIL> or <EMAIL>", "nothing here", "call <PHONE>"]
    assert load_split(folder, "train")[1].reference == "from <IP>"
    assert outcome.repairs.counts == {"email redacted": 1, "phone redacted": 1, "ip redacted": 1}
    assert outcome.num_rows == len(load_split(folder, "train")) + outcome.ledger.counts.total()


def test_reports_show_too_little_to_learn_a_secret(write_rows: Write, run: Run) -> None:
    key = drawn_secrets(Random(7))[1]
    path = write_rows(_rows(f"my key is {key}", "and jane.doe@example.com", "that is all"))
    for action in ("report", "redact", "drop"):
        _, outcome = run(path, pii={"action": action}, **WHOLE)
        faults = [*outcome.repairs.document(), *outcome.ledger.document()]
        assert sum(entry["count"] for entry in faults) == 2
        assert "gh… (40 characters)" in json.dumps(faults, ensure_ascii=False)
        assert key[2:] not in json.dumps(faults)
        assert "ne.doe" not in json.dumps(faults)


def test_rows_with_personal_data_can_be_dropped(write_rows: Write, run: Run) -> None:
    folder, outcome = run(
        write_rows(_rows("a", "my card is 4111 1111 1111 1111", "c")), pii={"action": "drop"}, **WHOLE
    )
    assert _prompts(folder) == ["a", "c"]
    (fault,) = outcome.ledger.first["personal data"]
    assert (fault.row, fault.detail) == (2, "card 41… (19 characters)")


def test_rows_are_only_counted_with_report(write_rows: Write, run: Run) -> None:
    texts = ["mail jane.doe@example.com", "b"]
    folder, outcome = run(write_rows(_rows(*texts)), pii={"action": "report"}, **WHOLE)
    assert _prompts(folder) == texts
    assert outcome.repairs.counts == {"email found": 1}


def test_off_is_off(write_rows: Write, run: Run) -> None:
    texts = ["mail jane.doe@example.com", "b"]
    for settings in ({}, {"pii": {"action": "off"}}):
        folder, outcome = run(write_rows(_rows(*texts)), **settings, **WHOLE)
        assert (_prompts(folder), outcome.repairs.counts) == (texts, {})


def test_rejected_answers_are_redacted(write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    row = {"prompt": "who?", "chosen": "jane.doe@example.com", "rejected": "ask john.roe@example.com"}
    folder, outcome = run(write_rows([row]), objective=DpoSpec(type="dpo"), pii=REDACT, **WHOLE)
    (example,) = load_split(folder, "train")
    assert example.reference == "<EMAIL>"
    assert outcome.repairs.counts == {"email redacted": 1}
    assert example.rejected is not None
    assert "ask <EMAIL>" in str(tokenizer.decode(example.rejected.input_ids))


def test_calls_of_tools_are_redacted_and_stay_json(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = (
        "{{ tools | tojson if tools else '' }}{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '\n' + (message.reasoning_content or '') + message.content }}"
        "{{ message.tool_calls | tojson if message.tool_calls else '' }}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    call = {"type": "function", "function": {"name": "mail", "arguments": {"to": "jane.doe@example.com", "n": 1.50}}}
    messages = [
        {"role": "user", "content": "mail her"},
        {"role": "assistant", "content": "", "tool_calls": [call], "reasoning_content": "she is jane.doe@example.com"},
        {"role": "tool", "content": '{"sent_to": ["jane.doe@example.com"]}'},
        {"role": "assistant", "content": "done"},
    ]
    tools = [{"type": "function", "function": {"name": "mail", "description": "from john.roe@example.org"}}]
    path = write_rows([{"messages": messages, "tools": tools}])
    folder, outcome = run(path, pii=REDACT, **WHOLE)
    (example,) = load_split(folder, "train")
    assert example.messages is not None
    assert json.loads(example.messages[1]["tool_calls"][0]["function"]["arguments"]) == {"to": "<EMAIL>", "n": 1.5}
    assert example.messages[1]["reasoning_content"] == "she is <EMAIL>"
    assert example.messages[2]["content"] == '{"sent_to": ["<EMAIL>"]}'
    assert "from <EMAIL>" in str(example.tools)
    assert outcome.repairs.first["email redacted"][0].detail == "4, the first is ja… (20 characters)"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"to": "jane.doe@example.com",  "n": [1, 2.50]}', '{"to": "<EMAIL>",  "n": [1, 2.50]}'),
        ('{"card": 4111111111111111}', '{"card": "<CARD>"}'),
        (r'{"text": "first line\njane.doe@example.com\tis\u0020it"}', '{"text": "first line\\n<EMAIL>\\tis it"}'),
        (r'[{"mail": "jane.doe\u0040example.com"}]', '[{"mail": "<EMAIL>"}]'),
        ('{"password": "q9Zr-71xK_b4Tw"}', '{"password": "<SECRET>"}'),
        (r'{"url": "https:\/\/bob:pw123@example.com\/x"}', '{"url": "https://<URL_CREDENTIALS>@example.com/x"}'),
        ('```json\n{"a": "x\\njane.doe@example.com"}\n```', '```json\n{"a": "x\\n<EMAIL>"}\n```'),
        ('{"broken": jane.doe@example.com', '{"broken": <EMAIL>'),
    ],
)
def test_answers_in_json_stay_json(write_rows: Write, run: Run, before: str, after: str) -> None:
    folder, _ = run(write_rows([{"prompt": "q", "completion": before}]), pii=REDACT, **WHOLE)
    (example,) = load_split(folder, "train")
    assert example.reference == after


def test_kinds_are_those_that_are_asked_for(write_rows: Write, run: Run) -> None:
    text = "jane.doe@example.com at 203.0.113.7"
    folder, _ = run(write_rows(_rows(text)), pii={**REDACT, "kinds": ["ip"]}, **WHOLE)
    assert _prompts(folder) == ["jane.doe@example.com at <IP>"]


def test_numbers_of_a_country_are_found_where_it_is_named(write_rows: Write, run: Run) -> None:
    path = write_rows(_rows("ring 020 7946 0958", "or 030 23125000", "pesel 44051401359"))
    assert _prompts(run(path, pii={**REDACT, "regions": []}, **WHOLE)[0])[0] == "ring 020 7946 0958"
    folder, _ = run(path, pii={**REDACT, "regions": ["GB", "DE", "PL"]}, **WHOLE)
    assert _prompts(folder) == ["ring <PHONE>", "or <PHONE>", "pesel <NATIONAL_ID>"]


def test_pseudonyms_are_the_same_for_the_same_value_and_need_a_key(
    write_rows: Write, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ("jane.doe@example.com", "Jane.Doe@example.com again", "+49 30 23125 000", "+493023125000", "x@example.org")
    path, settings = write_rows(_rows(*texts)), {**REDACT, "replacement": "pseudonym"}
    with pytest.raises(ConfigError, match=r"needs a secret key of 16 to 64 bytes; set LUTHIER_PSEUDONYM_KEY"):
        run(path, pii=settings, **WHOLE)
    found = []
    for key in ("0123456789abcdef", "0123456789abcdef", "another key of 24 bytes."):
        monkeypatch.setenv("LUTHIER_PSEUDONYM_KEY", key)
        found.append(_prompts(run(path, pii=settings, **WHOLE)[0]))
    first = found[0]
    assert first[1] == f"{first[0]} again"
    assert first[2] == first[3]
    assert len({first[0], first[2], first[4]}) == 3
    assert first[0].startswith("<EMAIL_")
    assert found[0] == found[1]
    assert not set(found[0]) & set(found[2])


@pytest.mark.parametrize(
    "text",
    [
        "1" * 50_000,
        "1 " * 50_000,
        "a." * 50_000 + "@",
        "a@" * 50_000,
        "2001:" * 20_000,
        "AB12 " * 20_000,
        "http://a:" * 10_000,
        "eyJaaaaaaaa." * 8_000,
        ("-----BEGIN " + "PRIVATE KEY-----" + "x" * 3000) * 10,
        "4111 1111 1111 1111 " * 200,
        "jane@example.com " * 2_000,
    ],
    ids=lambda text: text[:16],
)
def test_long_texts_do_not_take_for_ever(text: str) -> None:
    recognisers = Recognisers(PiiSpec(action="report", regions=["US", "DE"]))
    started = time.process_time()
    recognisers.suspects([text])
    recognisers.find(text)
    assert time.process_time() - started < 5.0


def test_numbers_side_by_side_are_each_found() -> None:
    text = "202-555-0143 202-555-0187, 4111 1111 1111 1111 5555-5555-5555-4444"
    found = Recognisers(PiiSpec(action="report")).find(text)
    assert [text[span.start : span.end] for span in found] == [
        "202-555-0143",
        "202-555-0187",
        "4111 1111 1111 1111",
        "5555-5555-5555-4444",
    ]


def test_halves_of_surrogate_pairs_are_still_told_by_row(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "\\ud83d jane.doe@example.com", "completion": "b"}\n{"prompt": "a", "completion": "b"}\n'
    )
    with pytest.raises(DataError, match=r"line 1: not UTF-8: holds half of a surrogate pair"):
        run(path, pii=REDACT, **WHOLE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"action": "report", "replacement": "pseudonym"}, "replacement has no use without action: redact"),
        ({"action": "redact", "names": "model"}, "names: model needs names_model: a folder with a token classifier"),
        ({"action": "redact", "names_model": "ner"}, "names_model has no use without names: model; leave it out"),
        ({"action": "redact", "kinds": []}, "at least 1 item"),
        ({"action": "redact", "regions": ["usa"]}, "String should match pattern"),
    ],
)
def test_settings_that_nothing_reads_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataSpec(path="x", pii=settings)


def test_a_country_that_there_is_not_is_refused(write_rows: Write, run: Run) -> None:
    with pytest.raises(ConfigError, match=r"data\.pii\.regions: ZZ is no country"):
        run(write_rows(_rows("a")), pii={"action": "report", "regions": ["ZZ"]}, **WHOLE)
