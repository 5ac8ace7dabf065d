"""What the budget of steps costs: chat templates rendered by us and by transformers, in turns within one process.

Templates are those that TRL has for its models, the conversations are made up: few and many messages, with and without
tools. Both must write the same text. Times are processor time; the ratio of a template is the median of its rounds. One
JSON object on stdout, a table on stderr.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trl
from jinja2 import TemplateError
from support.figures import table
from transformers.utils.chat_template_utils import render_jinja_template

from workers.export.triton_backend.chat_template import RENDERING_FAULTS, render_template

_TEMPLATES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
_TOKENS: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
_TURN = [
    {"role": "user", "content": "My printer does not turn on any more. Please repair it, this is urgent. " * 3},
    {"role": "assistant", "content": "We are sorry. A courier comes on Monday between nine and twelve. " * 3},
]
_TOOL = {
    "type": "function",
    "function": {
        "name": "find_ticket",
        "description": "Looks a ticket up.",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]},
    },
}
_KINDS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]] | None]] = {
    "2 messages": (_TURN, None),
    "20 messages": (_TURN * 10, None),
    "2 messages, 4 tools": (_TURN, [_TOOL] * 4),
}


def main() -> int:
    """Runs all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=100, help="renderings per round")
    arguments = parser.parse_args()
    rows = []
    for kind, (messages, tools) in _KINDS.items():
        measured = [
            found
            for path in _TEMPLATES
            if (found := compare(path.read_text(), messages, tools, arguments.rounds, arguments.rows)) is not None
        ]
        ours, theirs = (statistics.median(one[side] for one in measured) for side in (0, 1))
        ratios = sorted(one[2] for one in measured)
        rows.append(
            {
                "conversation": kind,
                "templates": len(measured),
                "ours_us": round(ours * 1e6, 1),
                "transformers_us": round(theirs * 1e6, 1),
                "ratio": round(statistics.median(ratios), 2),
                "ratio_max": round(ratios[-1], 2),
            }
        )
    print(table(rows), file=sys.stderr)
    print(json.dumps({"rows": rows}))
    return 0


def compare(
    source: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, rounds: int, num_rows: int
) -> tuple[float, float, float] | None:
    """Seconds of a rendering, ours and theirs, and their ratio; None: the template does not know such conversations.

    Raises:
        RuntimeError: the two texts differ.
    """

    def ours() -> str:
        return render_template(source, messages, tools, _TOKENS, add_generation_prompt=False)

    def theirs() -> str:
        return str(
            render_jinja_template([messages], [*tools] if tools else None, chat_template=source, **_TOKENS)[0][0]
        )

    try:
        texts = ours(), theirs()
    except (TemplateError, *RENDERING_FAULTS):
        return None
    if texts[0] != texts[1]:
        raise RuntimeError("the same template wrote two texts")
    pairs = [(seconds_of(ours, num_rows), seconds_of(theirs, num_rows)) for _ in range(rounds)]
    mine, other = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    return mine, other, statistics.median(pair[0] / pair[1] for pair in pairs)


def seconds_of(render: Callable[[], str], num_rows: int) -> float:
    """Processor time of one rendering, the mean of `num_rows`."""
    started = time.process_time()
    for _ in range(num_rows):
        render()
    return (time.process_time() - started) / num_rows


if __name__ == "__main__":
    sys.exit(main())
