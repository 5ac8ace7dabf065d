"""Sections of `data` about single rows, as a job file has them."""

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import canonical_json, parse_spec

JOB = "name: a\nbase_model: b\nmethod: {type: lora}\ndata:\n  path: rows.jsonl\n"


def test_sections_are_off_or_without_thresholds_unless_they_are_given() -> None:
    data = parse_spec(JOB).data
    assert (data.repair, data.clean, data.filters) == (None, None, None)
    assert data.quality.report
    assert set(data.quality.model_dump(exclude={"report"}).values()) == {None}


def test_a_job_with_all_of_them_survives_being_written_out() -> None:
    text = JOB + (
        "  repair: {merge_turns: false}\n"
        "  clean: {markup: true}\n"
        "  filters: {preset: gopher, languages: [en], min_words: 3}\n"
        "  quality: {min_score: 70, max_duplicates: 0.1}\n"
    )
    spec = parse_spec(text)
    assert parse_spec(canonical_json(spec)) == spec
    assert spec.data.filters is not None
    assert spec.data.filters.rules["min_words"] == 3


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("clean: {markups: true}", r"data\.clean\.markups: unknown key\. Did you mean 'markup'"),
        (
            "clean: {encoding: false, control: false, white_space: false}",
            r"data\.clean: every part of clean is off, so it would do nothing; turn one on, or leave clean out",
        ),
        ("filters: {max_bullet_line: 0.5}", r"Did you mean 'max_bullet_lines'"),
        ("filters: {min_turns: 5, max_turns: 2}", r"data\.filters: min_turns 5 is above max_turns 2"),
        ("quality: {min_score: 101}", r"data\.quality\.min_score: .*less than or equal to 100"),
        ("quality: {max_duplicates: 20}", r"data\.quality\.max_duplicates: .*less than or equal to 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_place(section: str, message: str) -> None:
    with pytest.raises(InvalidSpecError, match=message):
        parse_spec(f"{JOB}  {section}\n")
