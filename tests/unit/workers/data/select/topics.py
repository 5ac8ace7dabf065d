"""Rows with labels, those of a label in words of their own."""

import random

from luthier.spec import ClassificationSpec

TOPICS = {
    "billing": "invoice payment refund card charge amount bank account money bill",
    "login": "password account reset login email code phone locked verify browser",
    "delivery": "parcel courier address late tracking warehouse box street driver truck",
}
CLASSES = ClassificationSpec(type="classification", labels=list(TOPICS))


def labelled_rows(**counts: int) -> list[dict[str, str]]:
    """So many rows of each label."""
    draw = random.Random(5)
    return [
        {"text": f"{' '.join(draw.choices(TOPICS[label].split(), k=9))} {label} {i}", "label": label}
        for label, count in counts.items()
        for i in range(count)
    ]
