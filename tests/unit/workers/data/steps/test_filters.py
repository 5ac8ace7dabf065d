"""Which rows each rule drops, with the value that broke it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.spec import DataSpec
from luthier.spec.data import FiltersSpec
from luthier.spec.data.filters import PRESETS
from workers.data.row import Content, Message, Notes, Row
from workers.data.steps.filters import build
from workers.data.steps.heuristics import MEASURES, Text
from workers.failures import ConfigError

PROSE = (
    "The old harbour of the town was built to shelter boats that have come with the tide. Its walls are of grey stone, "
    "and people say that a bell was heard under the water on quiet nights. Nobody would be sure of it today.\n\n"
    "Still, every spring the children walk along the pier with lamps and listen. What they hear is mostly wind, and "
    "the sound of ropes that knock against the masts. That is enough for them, and it has been for a long time."
)


def exchange(prompt: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def dropped(content: Content, language: str | None = None, **rules: Any) -> tuple[str, str] | None:
    row = Row(content, Notes(), language=language)
    step = build(DataSpec(path="x", filters=FiltersSpec(**rules)))
    assert step is not None
    step([row])
    return None if row.error is None else (row.error.reason, row.error.detail)


@pytest.mark.parametrize(
    ("rule", "bound", "text", "value"),
    [
        ("min_characters", 4, "abc", "3"),
        ("max_characters", 2, "abc", "3"),
        ("min_words", 3, "two words", "2"),
        ("max_words", 1, "two words", "2"),
        ("min_turns", 2, "a text", "1"),
        ("min_mean_word_length", 3, "a b cd", "1.333"),
        ("max_mean_word_length", 10, "extraordinarily unpronounceable", "15"),
        ("max_symbol_to_word_ratio", 0.1, "# one # two three", "0.4"),
        ("max_symbol_to_word_ratio", 0.1, "well ... so … on", "0.4"),
        ("max_bullet_lines", 0.9, "- a\n• b\n* c", "1"),
        ("max_ellipsis_lines", 0.3, "more...\nand more…\nend", "0.6667"),
        ("min_alphabetic_words", 0.8, "1 2 3 four", "0.25"),
        ("min_stop_words", 2, "The cat sat", "1"),
        ("min_sentences", 3, "One. Two! e.g.x", "2"),
        ("max_repeated_lines", 0.3, "a\nb\na\na", "0.5"),
        ("max_repeated_paragraphs", 0.3, "a\n\na", "0.5"),
        ("max_repeated_line_characters", 0.2, "abcd\nabcd\nx", "0.3636"),
        ("max_repeated_paragraph_characters", 0.2, "abc\n\nabc", "0.375"),
        ("max_top_2_gram", 0.2, "a b a b c", "0.8"),
        ("max_top_3_gram", 0.2, "a b c a b c d", "0.8571"),
        ("max_top_4_gram", 0.2, "a b c d a b c d", "1"),
        ("max_repeated_5_grams", 0.15, "a b c d e a b c d e f", "0.4545"),
        ("max_repeated_6_grams", 0.15, "a b c d e f a b c d e f", "0.5"),
        ("max_repeated_10_grams", 0.1, "a b c d e f g h i j " * 2, "0.5"),
        ("no_lorem_ipsum", True, "Lorem ipsum dolor", "1"),
        ("no_curly_braces", True, "f(x) { }", "2"),
    ],
)
def test_a_rule_drops_by_name_and_value_and_lets_prose_pass(rule: str, bound: float, text: str, value: str) -> None:
    given = "true" if bound is True else f"{bound:g}"
    assert dropped(text, **{rule: bound}) == (f"filters.{rule}", f"{value}; data.filters.{rule} is {given}")
    least_turns = {"min_turns": 1}.get(rule, bound)
    most = {"max_characters": 1000, "max_words": 200}.get(rule, least_turns)
    assert dropped(PROSE, **{rule: most}) is None


def test_there_is_a_key_for_every_measure_and_a_measure_for_every_key() -> None:
    keys = {name.split("_", 1)[1] for name in FiltersSpec.model_fields if name.startswith(("min_", "max_", "no_"))}
    assert keys == set(MEASURES)


def test_no_measure_stumbles_over_an_empty_text() -> None:
    assert [name for name, measure in MEASURES.items() if measure(Text("", 0))] == []


@pytest.mark.parametrize("preset", ["gopher", "c4"])
def test_a_preset_sets_the_published_rules_and_what_is_given_beside_it_counts_instead(preset: Any) -> None:
    assert FiltersSpec(preset=preset).rules == PRESETS[preset]
    assert dropped(PROSE, preset=preset) is None
    reason, _ = dropped("Yes {ok}.", preset=preset) or ("", "")
    assert reason == {"gopher": "filters.min_words", "c4": "filters.no_curly_braces"}[preset]
    assert FiltersSpec(preset=preset, min_words=5).rules == PRESETS[preset] | {"min_words": 5}


def test_rules_look_at_what_user_and_assistant_say() -> None:
    chat = [{"role": "system", "content": "word " * 100}, *exchange("one two", "three")]
    assert dropped(chat, max_words=3, max_turns=2) is None
    segments: Content = [{"role": "context", "content": "one "}, {"role": "target", "content": "two"}]
    assert dropped(segments, min_words=2, max_words=2, max_turns=1) is None
    assert dropped(chat, min_words=4) == ("filters.min_words", "3; data.filters.min_words is 4")


def test_languages_to_keep() -> None:
    assert dropped("x", "fr", languages=["en", "de"]) == (
        "filters.languages",
        "fr; data.filters.languages has en, de",
    )
    assert dropped("x", "de", languages=["en", "de"]) is None
    assert dropped("x", None, languages=["en"]) is None
    assert dropped("x", None, languages=["en"], drop_unknown_language=True) is not None
    with pytest.raises(ConfigError, match="'qq' cannot be identified; known: am, ar"):
        dropped("x", languages=["qq"])


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({}, "filters has no rule"),
        ({"min_words": 9, "max_words": 3}, "min_words 9 is above max_words 3"),
        ({"languages": ["English"]}, "expected ISO 639 codes"),
        ({"drop_unknown_language": True, "min_words": 2}, "no use without languages"),
        ({"max_bullet_lines": 1.5}, "less than or equal to 1"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FiltersSpec(**rules)


def test_the_report_counts_dropped_rows_by_rule(write_rows: Callable[..., Path], run: Callable[..., Any]) -> None:
    german = "Der Zug an die Küste fährt jede Stunde von Gleis neun ab."
    rows = [{"prompt": f"hello {i}", "completion": "this is a fine and simple answer to you"} for i in range(3)]
    rows += [{"prompt": "hello", "completion": german}, {"prompt": "hello", "completion": "word " * 50}]
    filters = FiltersSpec(languages=["en"], max_words=20)
    _, outcome = run(write_rows(rows), validation_fraction=0.0, test_fraction=0.0, filters=filters)
    assert outcome.ledger.counts == {"filters.languages": 1, "filters.max_words": 1}
    assert outcome.splits["train"].num_rows == 3
    assert outcome.ledger.first["filters.max_words"][0].row == 5


def test_rules_are_the_same_after_the_job_file_has_been_written_out() -> None:
    spec = FiltersSpec(preset="gopher", min_words=5, no_curly_braces=True)
    assert FiltersSpec.model_validate_json(spec.model_dump_json()).rules == spec.rules


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["x ", ".", ".x", "#", "\n", "- \n", "a\n\n", "{", "a b c d e f g h i j "])
def test_no_long_text_makes_a_measure_slow(piece: str) -> None:
    text = Text(piece * (100_000 // len(piece)), 1)
    assert all(measure(text) >= 0 for measure in MEASURES.values())
