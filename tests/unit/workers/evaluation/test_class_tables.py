"""The tables of a classifier's report, by rows whose figures are known."""

from types import SimpleNamespace

from workers.evaluation.class_tables import class_sections, class_table
from workers.evaluation.metrics import Prediction


def row(wanted, given):
    return Prediction("", "", 0.0, 0, given=frozenset(given), wanted=frozenset(wanted))


def test_each_class_has_its_line_and_the_most_frequent_comes_first():
    table = class_table([row("ab", "a"), row("a", "ac"), row("a", ""), row("", "")])
    assert table.splitlines()[2:5] == [
        "| a | 3 | 2 | 1 | 0.667 | 0.8 |",
        "| b | 1 | 0 | - | 0 | 0 |",
        "| c | 0 | 1 | 0 | - | 0 |",
    ]


def test_of_very_many_classes_the_rest_is_counted():
    table = class_table([row({f"class {number:03}" for number in range(60)}, ())])
    assert "| class 049 |" in table
    assert "| class 050 |" not in table
    assert "And 10 classes that fewer rows have." in table


def test_rows_show_their_sets_as_lists_and_a_name_cannot_break_the_table():
    examples = [SimpleNamespace(source="rows.jsonl", row=number) for number in (4, 7)]
    tuned = [row({"b", "a"}, {"x|y"}), row((), ())]
    sections = class_sections(examples, [row((), {"a"})] * 2, tuned, num_examples=2)
    assert sections[-1].splitlines()[2:] == [
        "| rows.jsonl, row 4 | a, b | a | x\\|y |",
        "| rows.jsonl, row 7 | (none) | a | (none) |",
    ]
    assert class_sections(examples, tuned, tuned, num_examples=0)[-1].startswith("| class |")


def test_rows_without_classes_have_no_tables():
    assert class_sections([SimpleNamespace()], [row((), ())], [row((), ())], num_examples=8) == []
