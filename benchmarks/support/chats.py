"""Chats of mixed length, tokenised once: every arm of a training benchmark gets the same ids and the same targets."""

import json
import random
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from workers.data.tokens.encode import Encoded, Encoder

TICKETS = Path(__file__).parents[2] / "examples" / "tickets" / "train.jsonl"
# Exchanges in a chat: most are short, a few are ten times as long.
_NUM_TURNS = (1, 1, 1, 1, 2, 2, 3, 5)


def write_chats(tokenizer: PreTrainedTokenizerBase, num_chats: int, seed: int, path: Path) -> int:
    """Writes `{"input_ids": [...], "trainable": [...]}` lines; returns the number of tokens.

    A chat is a few support tickets with their answers; every answer is learned. Chats have no system message of their
    own, so the only tokens they share are those that the model's template puts first.
    """
    exchanges = [json.loads(line)["messages"] for line in TICKETS.read_text(encoding="utf-8").splitlines()]
    chance = random.Random(seed)  # noqa: S311 - not a secret
    chats = [
        [message for turn in chance.sample(exchanges, chance.choice(_NUM_TURNS)) for message in turn]
        for _ in range(num_chats)
    ]
    encoded = [row for row in Encoder(tokenizer).encode(chats) if isinstance(row, Encoded)]
    assert len(encoded) == num_chats, "the template refuses a chat"
    with path.open("w") as stream:
        for row in encoded:
            stream.write(json.dumps({"input_ids": row.input_ids.tolist(), "trainable": row.trainable.tolist()}) + "\n")
    return sum(len(row.input_ids) for row in encoded)


def read_chats(path: Path) -> list[dict[str, list[int]]]:
    """What `write_chats` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]
