"""Writes the tickets of this example: `python examples/tickets/generate.py`. The same files every time.

A ticket is an opening, a problem, a request, perhaps a hint of urgency, in some order and tone. The answer is a JSON
object with four fields that can each be read off the text. What makes the test split a test: its problems, requests
and hints are worded as in no training ticket (phrases.py keeps them apart), and its pairs of product and issue do not
occur in training either. `check` enforces both.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from phrases import ACTIONS, CLOSINGS, ISSUES, OPENINGS, PRIORITIES, PRODUCTS, REQUESTS, Phrases

SEED = 20261121
NUM_TICKETS = {"train": 800, "validation": 60, "test": 140}
# Every sixth pair of product and issue belongs to the test split, every other sixth to validation.
PAIR_SPLITS = ("test", "validation", "train", "train", "train", "train")
# {i} problem, {r} request, {u} hint of urgency. The last three join two clauses into one sentence.
ORDERS = ("{i}. {r}. {u}.", "{u}. {i}. {r}.", "{i}. {u}, {r}.", "{r}. {i}. {u}.", "{i}, {r}. {u}.", "{r}, {i}. {u}.")
TYPO_RATE = 0.25


class Ticket(NamedTuple):
    """What is drawn before it is put into words."""

    product: str
    issue: str
    priority: str
    action: str


def pairs(split: str) -> list[tuple[str, str]]:
    """The (product, issue) pairs that `split` may use."""
    return [
        (product, issue)
        for i, product in enumerate(PRODUCTS)
        for j, issue in enumerate(ISSUES)
        if PAIR_SPLITS[(i + j * 5) % len(PAIR_SPLITS)] == split
    ]


def draw_tickets(split: str, rng: random.Random) -> Iterator[Ticket]:
    """Endless tickets: pairs in shuffled rounds, so that all are used equally often."""
    while True:
        for product, issue in rng.sample(pairs(split), k=len(pairs(split))):
            action = rng.choice(REQUESTS[ISSUES[issue].category])
            yield Ticket(product, issue, rng.choice(list(PRIORITIES)), action)


def write(ticket: Ticket, split: str, rng: random.Random) -> str:
    """The ticket in a customer's words."""

    def say(phrases: Phrases) -> str:
        return rng.choice(getattr(phrases, split))

    problem = say(ISSUES[ticket.issue].phrases).format(p=rng.choice(PRODUCTS[ticket.product]))
    body = rng.choice(ORDERS).format(i=problem, r=say(ACTIONS[ticket.action]), u=say(PRIORITIES[ticket.priority]))
    sentences = [part.strip(" ,") for part in body.split(".") if part.strip(" ,")]
    tone = rng.choice(("neat", "neat", "careless", "angry"))
    mark = "!" if tone == "angry" else "."
    text = " ".join(f"{sentence[0].upper()}{sentence[1:]}{mark}" for sentence in sentences)
    text = " ".join(part for part in (say(OPENINGS), text, say(CLOSINGS)) if part)
    if tone == "careless":
        text = text.lower().replace(".", "" if rng.random() < 0.3 else ".")
    if rng.random() < TYPO_RATE:
        text = misspell(text, ticket.product, rng)
    return text


def misspell(text: str, product: str, rng: random.Random) -> str:
    """One swapped or lost letter inside a long word, never in the product's name."""
    words = text.split(" ")
    candidates = [k for k, word in enumerate(words) if word.isalpha() and len(word) > 4 and word.lower() not in product]
    if not candidates:
        return text
    k = rng.choice(candidates)
    at = rng.randrange(1, len(words[k]) - 2)
    word = words[k]
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    words[k] = rng.choice((swapped, word[:at] + word[at + 1 :]))
    return " ".join(words)


def answer(ticket: Ticket) -> str:
    """The JSON that the model has to give."""
    fields = {
        "category": ISSUES[ticket.issue].category,
        "priority": ticket.priority,
        "product": ticket.product,
        "action": ticket.action,
    }
    return json.dumps(fields)


def build() -> dict[str, list[dict[str, object]]]:
    """Rows of every split; no text occurs twice."""
    rng = random.Random(SEED)  # noqa: S311 (reproducible, not secret)
    splits: dict[str, list[dict[str, object]]] = {}
    seen: set[str] = set()
    for split, num_tickets in NUM_TICKETS.items():
        rows: list[dict[str, object]] = []
        for ticket in draw_tickets(split, rng):
            text = write(ticket, split, rng)
            if text.lower() not in seen:
                seen.add(text.lower())
                turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer(ticket)}]
                rows.append({"messages": turns})
            if len(rows) == num_tickets:
                break
        splits[split] = rows
    return splits


def check() -> None:
    """Raises AssertionError when a split shares a wording or a pair of product and issue with another one."""
    every = [issue.phrases for issue in ISSUES.values()] + list(ACTIONS.values())
    every += [phrases for priority, phrases in PRIORITIES.items() if priority != "normal"]
    wordings = {split: {text.lower() for phrases in every for text in getattr(phrases, split)} for split in NUM_TICKETS}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not wordings[one] & wordings[other], f"{one} and {other} share {wordings[one] & wordings[other]}"
        assert not set(pairs(one)) & set(pairs(other)), f"{one} and {other} share pairs of product and issue"


def main() -> None:
    """Writes `<split>.jsonl` beside this file."""
    check()
    for split, rows in build().items():
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (Path(__file__).parent / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
