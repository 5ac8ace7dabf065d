"""What `data.pii` finds and what it costs, beside Presidio's recognisers of patterns: one JSON object on stdout.

Both look at the same texts one after the other in one run, on one core; figures are processor seconds. Precision and
recall are on the made-up texts of the unit test, for the kinds that Presidio has, too; the time is on chats of which
one in `--every` holds something. Names are left out: they take a model on either side.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.venvs import ensure_venv

from luthier.spec.data.pii import PiiSpec
from tests.unit.workers.data.steps.personal_data import Labelled, labelled_texts
from workers.data.steps.pii.recognisers import Recognisers

PINS = ("presidio-analyzer==2.2.366",)
KINDS = ("email", "iban", "crypto_address", "card", "national_id", "phone", "ip")
_ARM = Path(__file__).parent / "arms" / "presidio_recognisers.py"
_WORDS = (
    "order",
    "late",
    "support",
    "said",
    "will",
    "come",
    "next",
    "week",
    "kind",
    "about",
    "parcel",
    "the",
    "and",
    "of",
)
_NUM_WORDS = 100

Found = list[tuple[int, int, str]]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--every", type=int, default=20, help="one in so many chats holds personal data")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/luthier-benchmarks").expanduser())
    arguments = parser.parse_args()
    labelled = [(text, held) for text, held in labelled_texts() if all(kind in KINDS for kind, _ in held)]
    chats = _chats([text for text, held in labelled if held], arguments.texts, arguments.every)
    python = ensure_venv(arguments.cache, "presidio", PINS) / "bin" / "python"
    texts = [text for text, _ in labelled]
    ours, theirs = _ours(texts)[1], _theirs(python, texts)[1]
    seconds = {"ours": _ours(chats)[0], "presidio": _theirs(python, chats)[0]}
    print(
        json.dumps(
            {
                "texts": len(texts),
                "kinds": KINDS,
                "ours": _quality(labelled, ours),
                "presidio": _quality(labelled, theirs),
                "microseconds_per_chat": {name: round(value / len(chats) * 1e6, 1) for name, value in seconds.items()},
                "times_as_fast": round(seconds["presidio"] / seconds["ours"], 1),
            }
        )
    )


def _ours(texts: Sequence[str]) -> tuple[float, list[Found]]:
    recognisers = Recognisers(PiiSpec(action="report", kinds=list(KINDS)))
    started = time.process_time()
    found: list[Found] = [[] for _ in texts]
    for index in recognisers.suspects(texts):
        found[index] = [tuple(span) for span in recognisers.find(texts[index])]
    return time.process_time() - started, found


def _theirs(python: Path, texts: Sequence[str]) -> tuple[float, list[Found]]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as stream:
        json.dump(texts, stream)
        stream.flush()
        run = subprocess.run([str(python), str(_ARM), stream.name], check=True, capture_output=True, text=True)
    result = json.loads(run.stdout.splitlines()[-1])
    return result["seconds"], [[(start, end, kind) for start, end, kind in found] for found in result["found"]]


def _quality(labelled: Sequence[Labelled], found: Sequence[Found]) -> dict[str, Any]:
    """Precision and recall of kind and exact place."""
    right = wrong = missed = 0
    misses: Counter[str] = Counter()
    for (text, held), spans in zip(labelled, found, strict=True):
        got, expected = Counter((kind, text[start:end]) for start, end, kind in spans), Counter(held)
        right += (got & expected).total()
        wrong += (got - expected).total()
        missed += (expected - got).total()
        misses.update(kind for kind, _ in (expected - got).elements())
    return {
        "precision": round(right / (right + wrong), 3),
        "recall": round(right / (right + missed), 3),
        "missed": dict(misses),
    }


def _chats(held: Sequence[str], num_texts: int, every: int) -> list[str]:
    draw = random.Random(0)  # noqa: S311 - no secret
    plain = (" ".join(draw.choices(_WORDS, k=_NUM_WORDS)) for _ in range(num_texts))
    return [f"{text} {draw.choice(held)}" if number % every == 0 else text for number, text in enumerate(plain)]


if __name__ == "__main__":
    main()
