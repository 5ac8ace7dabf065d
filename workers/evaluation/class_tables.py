"""Tables of a classifier's report: how well the tuned model knows each class, and what it gives some rows."""

from collections import Counter
from collections.abc import Sequence

from workers.data.dataset import Example
from workers.evaluation.label_sets import in_words
from workers.evaluation.metrics import Prediction

_MAX_CLASSES = 50


def class_sections(
    examples: Sequence[Example], base: Sequence[Prediction], tuned: Sequence[Prediction], num_examples: int
) -> list[str]:
    """Paragraphs of Markdown, for the first `num_examples` rows and for all classes; none where rows have none."""
    if not any(row.wanted or row.given for row in tuned):
        return []
    sections = ["## Classes", class_table(tuned)]
    return (
        [*sections, "## Labels of rows", _row_table(examples, base, tuned, num_examples)] if num_examples else sections
    )


def class_table(rows: Sequence[Prediction]) -> str:
    """One line per class, the one that most rows have first: precision, recall and their harmonic mean F1.

    A share of nothing is shown as a dash. Of very many classes only the first have a line.
    """
    has, given, right = (
        Counter(label for labels in sets for label in labels)
        for sets in zip(*((row.wanted, row.given, row.wanted & row.given) for row in rows), strict=True)
    )
    classes = sorted(has | given, key=lambda label: (-has[label], label))
    lines = [
        f"| {_cell(label)} | {has[label]} | {given[label]} | {_share(right[label], given[label])} "
        f"| {_share(right[label], has[label])} | {_share(2 * right[label], has[label] + given[label])} |"
        for label in classes[:_MAX_CLASSES]
    ]
    head = "| class | rows that have it | rows given it | precision | recall | F1 |\n|---|---|---|---|---|---|"
    more = f"\n\nAnd {len(classes) - _MAX_CLASSES} classes that fewer rows have." if len(classes) > _MAX_CLASSES else ""
    return "\n".join([head, *lines]) + f"{more}\n\nOf the tuned model."


def _row_table(
    examples: Sequence[Example], base: Sequence[Prediction], tuned: Sequence[Prediction], num_examples: int
) -> str:
    lines = [
        f"| {_cell(f'{example.source}, row {example.row}')} | {_cell(in_words(of_tuned.wanted))} "
        f"| {_cell(in_words(of_base.given))} | {_cell(in_words(of_tuned.given))} |"
        for example, of_base, of_tuned in list(zip(examples, base, tuned, strict=True))[:num_examples]
    ]
    return "\n".join(["| row | reference | base | tuned |\n|---|---|---|---|", *lines])


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3g}" if whole else "-"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
