"""Single lines of plain text that C4's rules take out, through the whole of preprocessing."""

import time

import pytest
from pydantic import ValidationError

from luthier.spec import DataSpec, PretrainSpec
from luthier.spec.data.filters import FiltersSpec
from workers.data.dataset import load_split
from workers.data.row import Notes, Row
from workers.data.steps.lines import build
from workers.failures import DataError

ALL = {"validation_fraction": 0.0, "test_fraction": 0.0}
GOOD = "The harbour was built to shelter boats."
KINDS = {
    "end": "line without end punctuation",
    "few": "line of few words",
    "script": "line about JavaScript",
    "policy": "line of a policy notice",
}


def taken(text, **rules):
    """What is left of a text, and how many lines of each kind were taken out."""
    row = Row(text, Notes())
    build(DataSpec(path="x", filters={"lines": rules}))([row])
    return row, {repair.kind: repair.num_places for repair in row.repairs}


@pytest.fixture
def texts(tokenizer):
    return lambda folder: [
        tokenizer.decode(one.input_ids, skip_special_tokens=True) for one in load_split(folder, "train")
    ]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("Home Products About us and our long Contact", "end"),
        ("This sentence goes on and on...", "end"),
        ("This sentence goes on and on…", "end"),
        ("Read all about it here:", "end"),
        ("Read more today now.", "few"),
        ("Please turn on JavaScript in your browser.", "script"),
        ("By reading on you accept our PRIVACY POLICY today.", "policy"),
        ("This site uses cookies to know you better.", "policy"),
        ("You accept the terms of use of this site.", "policy"),
        ("Why would anybody build it here?", None),
        ('He said "nobody would be so unwise."', None),
        ("  Indented, with spaces after the stop.  \t", None),
        ("Sie sagte: „Das glaube ich nicht ganz.”", None),
        ("这 是 一 个 句子。", None),
    ],
)
def test_a_line_goes_by_the_first_rule_that_it_breaks(line, kind):
    row, counts = taken(f"{GOOD}\n{line}\n{GOOD}")
    assert (row.content, counts) == (
        (f"{GOOD}\n{line}\n{GOOD}", {}) if kind is None else (f"{GOOD}\n{GOOD}", {KINDS[kind]: 1})
    )


@pytest.mark.parametrize(
    ("off", "line"),
    [
        ({"end_punctuation": False}, "Home Products About us and our Contact"),
        ({"min_words": None}, "Short."),
        ({"min_words": 3}, "Just three words."),
        ({"no_javascript": False}, "Please turn on JavaScript in your browser."),
        ({"no_policy_notices": False}, "This site uses cookies to know you better."),
    ],
)
def test_each_rule_can_be_turned_off(off, line):
    assert taken(line)[0].error is not None
    row, counts = taken(line, **off)
    assert (row.content, row.error, counts) == (line, None, {})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{GOOD}\n\n\n\n{GOOD}\n\n", f"{GOOD}\n\n\n\n{GOOD}\n\n"),
        (f"Menu\n\n{GOOD}\n\nMenu\n\n\n{GOOD}\n\nMenu\n", f"{GOOD}\n\n{GOOD}"),
        (f"  {GOOD}  \r\nMenu\r\n{GOOD}\r\n", f"  {GOOD}  \r\n{GOOD}\r"),
    ],
)
def test_paragraphs_stay_and_a_text_of_good_lines_is_not_touched(text, left):
    assert taken(text)[0].content == left


def test_each_line_is_a_repair_and_a_row_without_lines_is_dropped(write_rows, run, texts):
    page = f"Home\nAbout\nTwo words.\n{GOOD}\nThis site uses cookies to know you better."
    path = write_rows([{"text": page}, {"text": "Home\nAbout us"}, {"text": GOOD + " Twice."}])
    folder, outcome = run(path, PretrainSpec(type="pretrain"), filters={"lines": {}}, **ALL)
    assert texts(folder) == [GOOD, GOOD + " Twice."]
    assert outcome.repairs.counts == {KINDS["end"]: 2, KINDS["few"]: 1, KINDS["policy"]: 1}
    (named,) = outcome.repairs.first[KINDS["end"]]
    assert (named.row, named.detail) == (1, "2 lines taken out, the first is 'Home'")
    (fault,) = outcome.ledger.first["filters.lines"]
    assert str(fault).endswith("2 lines, and each breaks a rule of data.filters.lines, the first is 'Home'")
    assert outcome.num_rows == 3 == outcome.ledger.counts.total() + outcome.splits["train"].num_rows


def test_rules_on_rows_look_at_what_is_left(write_rows, run):
    path = write_rows([{"text": f"{GOOD}\nfunction() {{ }}"}, {"text": f"{GOOD}\nIt holds a brace {{ of all things."}])
    filters = {"lines": {}, "no_curly_braces": True}
    _, outcome = run(path, PretrainSpec(type="pretrain"), filters=filters, **ALL)
    assert outcome.ledger.counts == {"filters.no_curly_braces": 1}
    assert outcome.ledger.first["filters.no_curly_braces"][0].row == 2


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Say it", "completion": "Yes\nNo"},
        {"segments": [{"label": False, "text": "Q:\nshort\n"}, {"label": True, "text": "yes\n"}]},
    ],
)
def test_conversations_and_segments_stay_whole(write_rows, run, row):
    path = write_rows([row, row])  # a single object that holds a list would be a document
    plain, _ = run(path, **ALL)
    ruled, outcome = run(path, filters={"lines": {}}, **ALL)
    first, second = (load_split(folder, "train")[0].input_ids.tolist() for folder in (plain, ruled))
    assert (first, outcome.repairs.counts) == (second, {})


def test_nothing_is_quoted_where_personal_data_are_looked_for(write_rows, run):
    path = write_rows([{"text": f"{GOOD}\nAsk jane@example.com"}, {"text": "Ask jane@example.com"}])
    _, outcome = run(path, filters={"lines": {}}, pii={"action": "redact"}, **ALL)
    told = [
        fault.detail for ledger in (outcome.repairs, outcome.ledger) for own in ledger.first.values() for fault in own
    ]
    assert told == ["1 line taken out", "1 line, and each breaks a rule of data.filters.lines"]


def test_nothing_left_at_all_is_told_by_reason(write_rows, run):
    with pytest.raises(DataError, match=r"no row is left to train on: .*1 filters\.lines"):
        run(write_rows([{"text": "Home"}]), filters={"lines": {}})


def test_lines_without_a_rule_are_refused():
    off = {"end_punctuation": False, "min_words": None, "no_javascript": False, "no_policy_notices": False}
    with pytest.raises(ValidationError, match="lines has no rule on"):
        FiltersSpec(lines=off)


@pytest.mark.parametrize("piece", ["\n", "a\n", "a ", ".", " \n", "Home page.\n", "use cookies"])
def test_no_long_text_makes_it_slow(piece):
    start = time.process_time()
    taken(piece * (400_000 // len(piece)))
    assert time.process_time() - start < 2.5
