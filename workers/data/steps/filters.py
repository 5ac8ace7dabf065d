"""Step `filters`: drops rows whose language or text breaks a rule of `data.filters`, by name and value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luthier.spec import DataSpec
from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Row, is_segmented
from workers.data.steps.heuristics import MEASURES, Text
from workers.data.steps.language import languages
from workers.failures import ConfigError


@dataclass(frozen=True)
class _Rule:
    """A bound on one measure."""

    name: str
    """Its key in `data.filters`."""
    measure: Callable[[Text], float]
    is_least: bool
    """Whether the bound is the smallest value that passes; otherwise the largest."""
    bound: float

    def broken_by(self, text: Text) -> RowError | None:
        value = self.measure(text)
        if (value >= self.bound) if self.is_least else (value <= self.bound):
            return None
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        detail = f"{shown}; data.filters.{self.name} is {_bound(self)}"
        return RowError(problems.filtered_by(self.name), detail)


def _bound(rule: _Rule) -> str:
    return "true" if rule.name.startswith("no_") else f"{rule.bound:g}"


def build(spec: DataSpec) -> Callable[[Sequence[Row]], None] | None:
    """The step that `data.filters` asks for.

    Raises:
        ConfigError: a language cannot be identified.
    """
    if spec.filters is None:
        return None
    wanted = spec.filters.languages
    unknown = [code for code in wanted or () if code not in languages()]
    if unknown:
        raise ConfigError(
            f"data.filters.languages: {unknown[0]!r} cannot be identified; known: {', '.join(sorted(languages()))}"
        )
    drop_unknown = spec.filters.drop_unknown_language
    rules = _rules(spec.filters.rules)

    def filters(rows: Sequence[Row]) -> None:
        for row in rows:
            if wanted and (row.language not in wanted) and (row.language or drop_unknown):
                detail = f"{row.language or 'unknown'}; data.filters.languages has {', '.join(wanted)}"
                row.error = RowError(problems.filtered_by("languages"), detail)
                continue
            text = judged_text(row.content)
            row.error = next((error for rule in rules if (error := rule.broken_by(text))), None)

    return filters


def judged_text(content: Content) -> Text:
    """What the rules look at: the text, its segments end to end, or what user and assistant say, a line apart."""
    if isinstance(content, str):
        return Text(content, 1)
    if is_segmented(content):
        return Text("".join(segment["content"] for segment in content), 1)
    turns = [message["content"] for message in content if message["role"] in ("user", "assistant")]
    return Text("\n".join(turns), len(turns))


def _rules(thresholds: dict[str, float | bool]) -> list[_Rule]:
    """In the order of `MEASURES`: cheap ones first."""
    rules = []
    for name, measure in MEASURES.items():
        for prefix in ("min_", "max_", "no_"):
            bound = thresholds.get(prefix + name)
            if bound is not None:
                rules.append(_Rule(prefix + name, measure, prefix == "min_", 0.0 if prefix == "no_" else float(bound)))
    return rules
