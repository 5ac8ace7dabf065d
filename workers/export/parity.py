"""The parity proof: held-out prompts through the trained model and through what was exported.

The trained model is what training left, in float32, an adapter not merged: what differs then is what the export did.
The exported model is the one that gets served, read back from its files by the code that was exported with it.

Compared are the token ids of the rendered prompts, which have to be equal, and the likeliest token at every position
of the trained model's greedy answers. Position by position, because two answers that part at one near tie differ in
everything after it: that would measure the luck of the tie, and the longer the answers, the more so. Whether the
exported model's own answers are identical is reported beside it.
"""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import torch
from transformers import PreTrainedTokenizerBase

from luthier.spec import ParitySpec
from luthier.spec.export import ExportFormat
from workers.data.dataset import Example
from workers.data.tokens.arguments import for_template
from workers.data.tokens.render import render_prompt
from workers.evaluation.batches import batches, pad_left, positions_of
from workers.evaluation.generate import Decoding, greedy_answers

_MAX_BATCH_TOKENS = 2048  # logits of a whole answer are kept: with a large vocabulary they are most of the memory

Render = Callable[[Example], list[int]]


@dataclass(frozen=True)
class Side:
    """One of the two models that are compared."""

    model: Any
    """A causal language model in evaluation mode."""
    decoding: Decoding
    render: Render
    """From a held-out row to the token ids of its prompt."""


@dataclass(frozen=True)
class Observation:
    """What one side did with the prompts."""

    prompts: list[list[int]]
    """Token ids as this side renders them."""
    answers: list[list[int]]
    """Greedy continuations, up to and with the stop token."""
    choices: list[list[int]]
    """The likeliest token at each position of the answers that are followed, given everything before it."""
    logits: torch.Tensor
    """Of the first token of each answer, float32 [num_prompts, vocabulary], on the CPU."""


@dataclass(frozen=True)
class PromptParity:
    """One prompt on both sides."""

    source: str
    row: int
    num_prompt_tokens: int
    rendered_equal: bool
    num_tokens: int
    """Length of the trained model's answer, its stop token counted."""
    num_agreeing: int
    """Positions of that answer at which the exported model finds the same token likeliest."""
    is_identical: bool
    """Whether the exported model, left to itself, gives the same answer."""
    max_logit_difference: float


@dataclass(frozen=True)
class Parity:
    """The proof."""

    subject: ExportFormat
    """Which of the exported formats was compared."""
    greedy_agreement: float
    """Agreeing positions as a part of all."""
    num_identical: int
    """Prompts with identical answers."""
    max_logit_difference: float
    """Largest one of any logit of the first token of any answer."""
    prompts: list[PromptParity]

    def describe(self, dtype: str) -> str:
        """For the model card."""
        return (
            f"{len(self.prompts)} held-out prompts went through the trained model (not merged, float32) and the "
            f"exported `{self.subject}` ({dtype}). Their token ids are equal. "
            f"{self.num_identical} of {len(self.prompts)} greedy answers are identical; both find the same token "
            f"likeliest at {self.greedy_agreement:.1%} of their positions. Largest difference of a logit of a first "
            f"token: {self.max_logit_difference:.3g}. Per prompt: `parity.json`."
        )

    def to_json(self) -> dict[str, Any]:
        """As `parity.json` has it."""
        return asdict(self)


def plain_side(model: Any, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> Side:
    """A model loaded by transformers or PEFT, with its tokenizer."""

    def render(example: Example) -> list[int]:
        if example.messages:
            return render_prompt(tokenizer, example.prompt, example.tools)
        return _plain_prompt(tokenizer, example)

    return Side(model, Decoding.of(model, tokenizer, max_new_tokens), render)


def chat_side(version: Path, device: torch.device, max_new_tokens: int) -> Side:
    """The model as Triton will serve it: the code and `weights/` of the exported version folder.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    chat = _load_chat_model(version)(version / "weights", str(device))

    def render(example: Example) -> list[int]:
        if example.messages:
            tools = None if example.tools is None else json.loads(example.tools)
            return list(chat.render(for_template(chat.tokenizer, example.prompt), tools))
        return _plain_prompt(chat.tokenizer, example)

    pad_id = chat.tokenizer.pad_token_id
    decoding = Decoding(chat.stop_ids, pad_id if pad_id is not None else 0, max_new_tokens)
    return Side(chat.model, decoding, render)


def observe(
    side: Side,
    examples: Sequence[Example],
    advance: Callable[[int], None],
    follow: Sequence[Sequence[int]] | None = None,
) -> Observation:
    """Renders the prompts of `examples`, answers them, and follows the answers `follow`, or its own when None.

    `advance` is called with the number of rows of each batch that was answered.
    """
    prompts = [side.render(example) for example in examples]
    answers = greedy_answers(side.model, prompts, side.decoding, advance)
    choices, logits = _follow(side.model, prompts, answers if follow is None else follow, side.decoding.pad_id)
    return Observation(prompts, answers, choices, logits)


def compare_sides(
    subject: ExportFormat, examples: Sequence[Example], trained: Observation, exported: Observation
) -> Parity:
    """The proof from what both sides did with the same rows; `exported` followed the answers of `trained`."""
    differences = (trained.logits - exported.logits).abs().amax(1).tolist()
    rows = [
        PromptParity(
            source=example.source,
            row=example.row,
            num_prompt_tokens=len(trained.prompts[number]),
            rendered_equal=trained.prompts[number] == exported.prompts[number],
            num_tokens=len(trained.answers[number]),
            num_agreeing=sum(
                our == their for our, their in zip(trained.answers[number], exported.choices[number], strict=True)
            ),
            is_identical=trained.answers[number] == exported.answers[number],
            max_logit_difference=differences[number],
        )
        for number, example in enumerate(examples)
    ]
    return Parity(
        subject=subject,
        greedy_agreement=sum(row.num_agreeing for row in rows) / sum(row.num_tokens for row in rows),
        num_identical=sum(row.is_identical for row in rows),
        max_logit_difference=max(differences),
        prompts=rows,
    )


def refusal(parity: Parity, spec: ParitySpec, dtype: str) -> str:
    """Why the export does not pass, and what to do; empty when it does."""
    unequal = next((row for row in parity.prompts if not row.rendered_equal), None)
    if unequal is not None:
        return (
            f"the exported {parity.subject} model renders the prompt of {unequal.source}, row {unequal.row}, to other "
            f"token ids than the training did; its tokenizer does not survive being saved: use another base_model"
        )
    # Written so that an agreement which is not a number does not pass.
    if parity.greedy_agreement >= spec.min_greedy_agreement:
        return ""
    remedy = (
        "set export.dtype: float32, which rounds nothing, or lower export.parity.min_greedy_agreement"
        if dtype != "float32"
        else "nothing was rounded, so this model cannot be merged or saved: use another base_model, or export no more "
        "than the adapter (peft)"
    )
    return (
        f"the exported {parity.subject} model agrees with the trained one on {parity.greedy_agreement:.1%} of the "
        f"greedy tokens of {len(parity.prompts)} held-out prompts, below export.parity.min_greedy_agreement "
        f"{spec.min_greedy_agreement:.1%} (largest logit difference {parity.max_logit_difference:.3g}); {remedy}"
    )


@torch.inference_mode()
def _follow(
    model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad_id: int
) -> tuple[list[list[int]], torch.Tensor]:
    """The likeliest token at each position of `answers`, and the logits of the first, [num_prompts, vocabulary]."""
    choices: dict[int, list[int]] = {}
    logits: dict[int, torch.Tensor] = {}
    rows = [[*prompt, *answer[:-1]] for prompt, answer in zip(prompts, answers, strict=True)]
    for indices in batches([len(row) for row in rows], _MAX_BATCH_TOKENS):
        tokens, mask = pad_left([rows[index] for index in indices], pad_id, model.device)
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions_of(mask),
            use_cache=False,
            logits_to_keep=max(len(answers[index]) for index in indices),
        )
        for row, index in zip(output.logits, indices, strict=True):
            predicting = row[-len(answers[index]) :]
            choices[index] = predicting.argmax(-1).tolist()
            logits[index] = predicting[0].float().cpu()
    numbers = range(len(prompts))
    return [choices[number] for number in numbers], torch.stack([logits[number] for number in numbers])


def _plain_prompt(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[int]:
    """The first half of a row of plain text, taken as text so that the tokenizer is part of the proof."""
    half = example.input_ids[: max(1, len(example.input_ids) // 2)].tolist()
    text = tokenizer.decode(half, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return list(tokenizer.encode(text, add_special_tokens=False))


def _load_chat_model(version: Path) -> Any:
    """The class `ChatModel` of the exported files, imported as Triton will: not that of this package."""
    package = ModuleType(f"luthier_exported_{uuid4().hex}")
    package.__path__ = [str(version)]
    writes_none = sys.dont_write_bytecode
    sys.modules[package.__name__] = package
    sys.dont_write_bytecode = True  # it would become part of the export
    try:
        return importlib.import_module(f"{package.__name__}.generation").ChatModel
    finally:
        sys.dont_write_bytecode = writes_none
        for name in [name for name in sys.modules if name.partition(".")[0] == package.__name__]:
            del sys.modules[name]
