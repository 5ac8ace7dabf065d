"""report.json as HTML, by the template beside this file."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from workers.data.report.page.charts import histogram

_SPLITS = ("train", "validation", "test")


def html_page(document: Mapping[str, Any]) -> str:
    """The page of a data report.

    Args:
        document: what report.json says.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    environment.filters["bytes"] = _bytes
    environment.globals["histogram"] = histogram
    template = environment.from_string(files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8"))
    kept = sum(document["splits"][name]["num_rows"] for name in _SPLITS)
    return template.render(
        report=document,
        num_kept=kept,
        flow=_flow(document),
        grade=_grade((document["quality"] or {}).get("score")),
    )


def _flow(document: Mapping[str, Any]) -> Sequence[tuple[str, int, str]]:
    """Where all rows went: name, number and kind of each part, the splits before what was dropped."""
    kept = [(name, document["splits"][name]["num_rows"], name) for name in _SPLITS]
    dropped = [(entry["reason"], entry["count"], "dropped") for entry in document["dropped"]]
    return [part for part in (*kept, *dropped) if part[1]]


def _grade(score: float | None) -> str:
    """How a score is coloured."""
    return "none" if score is None else "good" if score >= 80 else "fair" if score >= 50 else "poor"


def _number(value: float | None) -> str:
    """With thousands apart; a fraction in three digits."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _bytes(size: int) -> str:
    """In the largest unit that leaves at least one."""
    if size < 0:
        return "-"
    amount, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
