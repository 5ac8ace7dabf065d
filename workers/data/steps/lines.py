"""Step `lines`: takes single lines out of plain text by the rules of C4 (`data.filters.lines`), and counts each.

Blank lines separate paragraphs and stay, but for those behind a paragraph that is gone. A text of which every line
stays is not touched. Excerpts are left out where a later step looks for personal data: it sees only what is left.
"""

from collections.abc import Callable, Iterator, Sequence

from luthier.spec import DataSpec
from luthier.spec.data.lines import LinesSpec
from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Repair, Row

_ENDS = (".", "!", "?", '"', "”", "’", "»", "。", "！", "？", "」")  # noqa: RUF001 - those of other scripts
_ELLIPSES = ("...", "…")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_EXCERPT = 40

_Rule = tuple[str, Callable[[str], bool]]
"""What the report calls a line that is taken out, and whether it is one, without the white space around it."""


def build(spec: DataSpec) -> Callable[[Sequence[Row]], None] | None:
    """The step that `data.filters.lines` asks for."""
    if spec.filters is None or spec.filters.lines is None:
        return None
    rules = list(_rules(spec.filters.lines))
    quotes = spec.pii is None

    def lines(rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row.content, str):
                _take_out(row, row.content, rules, quotes)

    return lines


def _rules(spec: LinesSpec) -> Iterator[_Rule]:
    """In the order of C4's own program: a line is counted by the first rule that it breaks."""
    if spec.end_punctuation:
        yield "line without end punctuation", lambda line: not line.endswith(_ENDS) or line.endswith(_ELLIPSES)
    if spec.min_words is not None:
        fewest = spec.min_words
        yield "line of few words", lambda line: len(line.split(maxsplit=fewest)) < fewest
    if spec.no_javascript:
        yield "line about JavaScript", lambda line: "javascript" in line.lower()
    if spec.no_policy_notices:
        yield "line of a policy notice", lambda line: any(phrase in line.lower() for phrase in _POLICY)


def _take_out(row: Row, text: str, rules: Sequence[_Rule], quotes: bool) -> None:
    kept: list[str] = []
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for line in text.split("\n"):
        bare = line.strip()
        broken = next((kind for kind, breaks in rules if breaks(bare)), None) if bare else None
        if broken is not None:
            first.setdefault(broken, bare)
            counts[broken] = counts.get(broken, 0) + 1
        elif bare or (kept and kept[-1].strip()):
            kept.append(line)
    if not counts:
        return
    if not any(line.strip() for line in kept):
        detail = f"{_lines(sum(counts.values()))}, and each breaks a rule of data.filters.lines"
        excerpt = _shown(next(iter(first.values())), quotes)
        row.error = RowError(problems.filtered_by("lines"), f"{detail}{excerpt}")
        return
    row.content = "\n".join(kept).rstrip("\n")
    row.repairs += [
        Repair(kind, f"{_lines(count)} taken out{_shown(first[kind], quotes)}", count) for kind, count in counts.items()
    ]


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count} lines"


def _shown(line: str, quotes: bool) -> str:
    return f", the first is {line[:_EXCERPT]!r}" if quotes else ""
