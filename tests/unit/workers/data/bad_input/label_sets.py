"""Rows whose set of classes is none, or that together teach nothing."""

from luthier.spec.objective import ClassificationSpec
from tests.unit.workers.data.bad_input.case import Case, Make, bad_row, rows

_ANY = ClassificationSpec(type="classification", multi_label=True)
_NAMED = ClassificationSpec(type="classification", multi_label=True, labels=["x", "y"])
_ONE = ClassificationSpec(type="classification")
_X, _NONE = {"text": "about x", "labels": ["x"]}, {"text": "about nothing", "labels": []}


def _between(labels: object) -> Make:
    """Two good rows with this between them."""
    return rows(_X, {"text": "about something", "labels": labels}, _NONE)


LABEL_SETS = [
    bad_row("labels that are text", _between("x"), "wrong type", "labels is text; expected a list of", _ANY, kept=2),
    bad_row("labels that are a number", _between(3), "wrong type", r"labels is a number; .* \[\] for", _ANY, kept=2),
    bad_row("labels that are an object", _between({"x": 1}), "wrong type", "labels is an object", _ANY, kept=2),
    bad_row("labels that are null", _between(None), "wrong type", "labels is null; expected a list", _ANY, kept=2),
    bad_row("labels that break off", _between('["x", '), "broken JSON", "column labels: .*JSON list", _ANY, kept=2),
    bad_row("labels in labels", _between(["x", ["y"]]), "wrong type", "labels: entry 2 is a list", _ANY, kept=2),
    bad_row("a fraction in labels", _between([0.5]), "wrong type", "labels: entry 1 is a number", _ANY, kept=2),
    bad_row("0 or 1 for each class", _between([0, 1, 0]), "wrong type", "labels has 0 or 1 for each", _ANY, kept=2),
    bad_row("null in labels", _between(["x", None]), "wrong type", "labels: entry 2 is null", _ANY, kept=2),
    bad_row("a class without a name", _between(["x", " "]), "empty", "labels: entry 2 is empty", _ANY, kept=2),
    bad_row("half a character in labels", _between(["\ud800"]), "not UTF-8", "holds half of a", _ANY, kept=2),
    bad_row("a class outside the set", _between(["x", "z"]), "unknown label", "'z' is none of x, y", _NAMED, kept=2),
    bad_row(
        "no labels at all",
        rows(_X, {"text": "about what"}, _NONE),
        "wrong columns",
        r"no labels; found 'text', expected text \+ labels",
        _ANY,
        kept=2,
    ),
    bad_row(
        "a set where a row has one class",
        rows({"text": "a", "label": "x"}, {"text": "b", "label": ["x"]}, {"text": "c", "label": "y"}),
        "wrong type",
        r"label is a list, .* set objective\.multi_label: true",
        _ONE,
        kept=2,
    ),
    Case(
        "sets for an objective of one class",
        rows(_X, _NONE),
        r"they fit multi_labelled_text, which takes objective\.multi_label: true",
        objective=_ONE,
    ),
    Case(
        "the same set in all rows",
        rows(*({"text": f"text {n}", "labels": ["x"]} for n in range(9))),
        r"every training row has the label 'x', so there is nothing to tell apart; give rows that a class applies to",
        objective=_ANY,
    ),
    Case(
        "a class named twice",
        _between(["y", "y", "x"]),
        dropped={},
        kept=3,
        repaired={"class named twice": 1},
        objective=_ANY,
    ),
]
