"""Chat with one exported model: prompt, decode loop, text that never breaks a character.

The export stage proves parity with this file and copies it, as it is, into the Triton model, so what was proved is what
is served. It needs torch and transformers and nothing of Luthier. One request at a time per `stream`; several streams
may be advanced in turn. Not covered: batching, beams, repetition penalties.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from .chat_template import RENDERING_FAULTS, render_template
from .template_work import TemplateLimitError

ROLES = ("system", "user", "assistant", "tool")
MAX_TEMPERATURE = 10.0

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a decoder writes for bytes that are no whole character
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")  # SentencePiece's byte fallback


class RequestError(ValueError):
    """The request cannot be answered as it is. The message says what to change."""


@dataclass(frozen=True)
class Chunk:
    """A step of an answer. One per token, then a last one with `finish_reason`."""

    text: str
    """Text since the last chunk; empty while a character is unfinished."""
    token_ids: list[int]
    """Tokens since the last chunk, without the end token."""
    finish_reason: str
    """`stop`: the model ended its turn. `length`: cut by `max_new_tokens` or the model's context. Else empty."""
    num_prompt_tokens: int
    num_completion_tokens: int
    """So far, without the end token."""


class ChatModel:
    """A model folder with config, safetensors and tokenizer, loaded and ready to answer."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        """Loads from `folder` onto `device`; None: the accelerator if there is one, else the CPU.

        Raises:
            ValueError: the tokenizer has no chat template.
            OSError: a file is missing.
        """
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not self.tokenizer.chat_template:
            raise ValueError(f"the tokenizer in {folder} has no chat template")
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        # The dtype is given here and not to `to`: that would round the rotary frequencies too, which stay in float32.
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_dtype(config.dtype or torch.float32, self.device),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        self.model = model.to(self.device).eval()
        self.max_context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self.stop_ids = _stop_ids(model, self.tokenizer)

    def render(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> list[int]:
        """Token ids of the conversation in the chat template, with the opening of the assistant's turn.

        Args:
            messages: as for `stream`.
            tools: schemas of the functions that the assistant may call.

        Raises:
            RequestError: `messages` is not a conversation, or the template refuses it.
        """
        _check_messages(messages)
        source = self.tokenizer.get_chat_template(tools=tools)
        tokens = self.tokenizer.special_tokens_map
        try:
            text = render_template(source, messages, tools, tokens, add_generation_prompt=True)
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        except TemplateLimitError as error:
            raise RequestError(
                f"the model's chat template was stopped: {error}; send less, or train with another data.chat_template"
            ) from error
        except (TemplateError, *RENDERING_FAULTS) as error:
            raise RequestError(f"the model's chat template refuses these messages: {error}") from error

    def stream(
        self,
        messages: list[dict[str, Any]],
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> Iterator[Chunk]:
        """The answer, chunk by chunk. The request is checked at once, before the first chunk is asked for.

        Args:
            messages: `[{"role": "system" | "user" | "assistant" | "tool", "content": str}, ...]`; one of the assistant
                may have `tool_calls` instead, with arguments as the chat template wants them, an object as a rule.
            max_new_tokens: most tokens of the answer; the model's context may end it earlier.
            temperature: 0 takes the likeliest token, else logits are divided by it.
            top_p: nucleus sampling (arXiv 1904.09751): the likeliest tokens that together have this probability.
            seed: the same seed gives the same answer; None is random.
            tools: schemas of the functions that the assistant may call; it answers with the text of a call.

        Raises:
            RequestError: a value is out of range, or the conversation does not fit the model's context.
        """
        _check_sampling(max_new_tokens, temperature, top_p, seed)
        prompt = self.render(messages, tools)
        if self.max_context is not None:
            if len(prompt) >= self.max_context:
                raise RequestError(
                    f"the conversation has {len(prompt)} tokens, the model's context {self.max_context}; shorten it"
                )
            max_new_tokens = min(max_new_tokens, self.max_context - len(prompt))
        generator = torch.Generator(self.device)
        if seed is None:
            generator.seed()
        else:
            generator.manual_seed(seed)
        return self._stream(prompt, max_new_tokens, temperature, top_p, generator)

    def _stream(
        self, prompt: list[int], limit: int, temperature: float, top_p: float, generator: torch.Generator
    ) -> Iterator[Chunk]:
        text = TextStream(self.tokenizer)
        finish_reason, num_completion_tokens = "length", 0
        logits, cache = self._forward(prompt, None)
        while True:
            token = _choose(logits, temperature, top_p, generator)
            if token in self.stop_ids:
                finish_reason = "stop"
                break
            num_completion_tokens += 1
            yield Chunk(text.push(token), [token], "", len(prompt), num_completion_tokens)
            if num_completion_tokens == limit:
                break
            logits, cache = self._forward([token], cache)
        yield Chunk(text.flush(), [], finish_reason, len(prompt), num_completion_tokens)

    @torch.inference_mode()
    def _forward(self, token_ids: list[int], cache: Any) -> tuple[torch.Tensor, Any]:
        """Logits after the last of `token_ids`, float32 `[vocabulary]`, and the key-value cache with them in it."""
        inputs = torch.tensor([token_ids], device=self.device)
        output = self.model(input_ids=inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[0, -1].float(), output.past_key_values


class TextStream:
    """Token ids in, text out; the pieces joined are `tokenizer.decode` of all ids, as a rule without special tokens.

    A piece is held back while the next token may still change it: within a character, or within a run of byte tokens,
    which is decoded as a whole. Only the tokens since the last piece but one are decoded again: that much context is
    what decoders look at for leading spaces.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._special_ids = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._ids: list[int] = []
        self._num_sent = 0
        """Of `_ids`, how many have been turned into text; the rest is held back."""

    def push(self, token_id: int) -> str:
        """The text that `token_id` completes."""
        self._ids.append(token_id)
        piece = self._held()
        if not piece or piece.endswith(_UNFINISHED) or self._is_open_ended(token_id):
            return ""
        del self._ids[: self._num_sent]
        self._num_sent = len(self._ids)
        return piece

    def flush(self) -> str:
        """What is still held back, with replacement characters where characters stayed unfinished."""
        piece = self._held()
        self._num_sent = len(self._ids)
        return piece

    def _held(self) -> str:
        sent = self._decode(self._ids[: self._num_sent])
        return self._decode(self._ids)[len(sent) :]

    def _decode(self, ids: list[int]) -> str:
        skip = self._skip_special_tokens
        return str(self._tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False))

    def _is_open_ended(self, token_id: int) -> bool:
        """Whether a run of byte tokens may go on after this one. Special tokens are left out, so they end no run."""
        token = self._tokenizer.convert_ids_to_tokens(token_id)
        return token_id in self._special_ids or _BYTE_TOKEN.fullmatch(str(token)) is not None


def _choose(logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """The next token id from float32 logits `[vocabulary]`."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits / temperature, dim=-1)
    if top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        return int(order[torch.multinomial(ordered, 1, generator=generator)])
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise RequestError("messages must be a list with at least one message")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise RequestError(f"messages[{number}].role must be one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
            raise RequestError(f"messages[{number}].content must be text")


def _check_sampling(max_new_tokens: Any, temperature: Any, top_p: Any, seed: Any) -> None:
    if type(max_new_tokens) is not int or max_new_tokens < 1:
        raise RequestError(f"max_new_tokens must be a whole number of at least 1, not {max_new_tokens!r}")
    if not _is_number(temperature) or not 0 <= temperature <= MAX_TEMPERATURE:
        raise RequestError(f"temperature must be between 0 and {MAX_TEMPERATURE:g}, not {temperature!r}")
    if not _is_number(top_p) or not 0 < top_p <= 1:
        raise RequestError(f"top_p must be above 0 and at most 1, not {top_p!r}")
    if seed is not None and (type(seed) is not int or not -(2**63) <= seed < 2**63):
        raise RequestError(f"seed must be a 64-bit whole number, not {seed!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """The stored type, except half precision on a CPU without instructions for bfloat16: that is many times slower."""
    if device.type != "cpu" or stored == torch.float32:
        return stored
    has_bfloat16 = any(flag for name, flag in torch.cpu.get_capabilities().items() if "bf16" in name)
    return torch.bfloat16 if stored == torch.bfloat16 and has_bfloat16 else torch.float32


def _stop_ids(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every id that ends an answer: those of the generation config, which may list several, and the tokenizer's."""
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update(ids if isinstance(ids, list) else [ids] if ids is not None else [])
    return frozenset(found)
