"""Conversations and texts as token ids with a mask of the tokens that are trained on.

What is trained on: answers of the assistant, from the end of what `render_prompt` gives for it, through the control
token that ends the turn (or, if the template writes none, through the template's own ending and an added
end-of-sequence token). Texts are trained on as a whole, and so are conversations where the job learns rendered text. A
weight of an answer holds for all of its tokens; an answer of weight 0 is context.

No template needs `{% generation %}` marks. Instead each conversation is rendered up to each answer, with and without
it, and each of these renderings must be a prefix of the next. A template for which that is not so (it rewrites
earlier turns) is refused: there would be no such thing as the tokens of an answer.

The prompt of the last answer is tokenised by itself and the answer after it, because that is the order of events in
serving: the ids before the last answer are those of `render_prompt`, to the token.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.data import problems
from workers.data.problems import RowError
from workers.data.render import plain_backend, render_texts, token_ids
from workers.data.row import Content, Message
from workers.data.targets import Targets


@dataclass(frozen=True)
class Encoded:
    """One row, of full length."""

    input_ids: npt.NDArray[np.int32]
    """Shape (length,)."""
    trainable: npt.NDArray[np.bool_]
    """Shape (length,)."""
    weights: npt.NDArray[np.float32] | None = None
    """Shape (length,): what each token counts, 0 where it is not trained on; None: 1 each."""


@dataclass(frozen=True)
class _Rendered:
    """A conversation as text."""

    prompt: str
    """All before the last answer, with the head of that answer."""
    answer: str
    """The last answer and what the template puts after it."""
    earlier: list[tuple[int, int]]
    """Where in `prompt` the earlier answers are, in characters, with what ends them."""

    @property
    def num_answers(self) -> int:
        """Of the assistant."""
        return len(self.earlier) + 1


class Encoder:
    """Turns rows into tokens by one tokenizer. Safe to use from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, targets: Targets = "answers") -> None:
        self._tokenizer = tokenizer
        self._targets = targets
        added = tokenizer.added_tokens_decoder
        self._control_ids = {index for index, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        self._control_texts = tuple(str(tokenizer.convert_ids_to_tokens(index)) for index in self._control_ids)
        self._joins_cleanly = _joins_cleanly(tokenizer)

    def encode(
        self, rows: Sequence[Content], weights: Sequence[Sequence[float] | None] | None = None
    ) -> list[Encoded | RowError]:
        """Tokens and mask of each row, or why it has none: refused by the template, or the template is unstable.

        `weights` says of each row what its answers count; None: 1 each.
        """
        results: dict[int, Encoded | RowError] = {}
        chats = {index: row for index, row in enumerate(rows) if not isinstance(row, str)}
        if self.as_text:
            results |= zip(chats, map(self._encode_rendered, chats.values()), strict=True)
            chats = {}
        rendered: dict[int, _Rendered] = {}
        for index, outcome in zip(chats, self._render(list(chats.values())), strict=True):
            if isinstance(outcome, _Rendered):
                rendered[index] = outcome
            else:
                results[index] = outcome
        counts = [weights[index] if weights else None for index in rendered]
        results |= zip(rendered, self._encode_chats(list(rendered.values()), counts), strict=True)
        texts = {index: row for index, row in enumerate(rows) if isinstance(row, str)}
        results |= zip(texts, self._encode_texts(list(texts.values())), strict=True)
        return [results[index] for index in range(len(rows))]

    @property
    def as_text(self) -> bool:
        """Whether a conversation is no more than its rendered text."""
        return self._targets in ("everything", "nothing")

    @property
    def has_targets(self) -> bool:
        """Whether any token is to be trained on. If none is, rows are what a tokenizer makes of them, with no end."""
        return self._targets != "nothing"

    def has_control_text(self, row: Content) -> bool:
        """Whether a content spells one of the tokenizer's control tokens."""
        contents = [row] if isinstance(row, str) else [message["content"] for message in row]
        return any(token in content for content in contents for token in self._control_texts)

    def _encode_texts(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for ids in token_ids(self._tokenizer, texts, add_special=True):
            yield self._whole(ids, is_ended=bool(ids) and ids[-1] == self._tokenizer.eos_token_id)

    def _encode_rendered(self, messages: Sequence[Message]) -> Encoded | RowError:
        """The conversation as one text; special tokens are those that the template writes."""
        try:
            (text,) = render_texts(self._tokenizer, [messages], add_generation_prompt=False)
        except TemplateError as error:
            return RowError(problems.REFUSED_BY_TEMPLATE, str(error))
        return self._whole(token_ids(self._tokenizer, [text])[0], is_ended=self._ends_with_control(text))

    def _whole(self, ids: list[int], *, is_ended: bool) -> Encoded:
        """All of a text, and its end."""
        ids = ids if is_ended or not self.has_targets else ids + self._end_of_sequence()
        return Encoded(np.array(ids, np.int32), np.full(len(ids), self.has_targets))

    def _end_of_sequence(self) -> list[int]:
        end = self._tokenizer.eos_token_id
        return [] if end is None else [end]

    # Rendering

    def _render(self, conversations: Sequence[Sequence[Message]]) -> Iterator[_Rendered | RowError]:
        turns = [[i for i, m in enumerate(messages) if m["role"] == "assistant"] for messages in conversations]
        heads = [messages[:i] for messages, at in zip(conversations, turns, strict=True) for i in at]
        wholes = [messages[: i + 1] for messages, at in zip(conversations, turns, strict=True) for i in at]
        try:
            prompts = iter(render_texts(self._tokenizer, heads, add_generation_prompt=True))
            ends = iter(render_texts(self._tokenizer, wholes, add_generation_prompt=False))
        except TemplateError as error:
            if len(conversations) == 1:
                yield RowError(problems.REFUSED_BY_TEMPLATE, str(error))
                return
            for messages in conversations:
                yield from self._render([messages])
            return
        for at in turns:
            yield _join_turns([(next(prompts), next(ends)) for _ in at])

    # Tokens

    def _encode_chats(
        self, chats: Sequence[_Rendered], weights: Sequence[Sequence[float] | None]
    ) -> Iterator[Encoded | RowError]:
        prompts = token_ids(self._tokenizer, [chat.prompt for chat in chats])
        if self._joins_cleanly:
            answers = token_ids(self._tokenizer, [chat.answer for chat in chats])
            wholes = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        else:
            wholes = token_ids(self._tokenizer, [chat.prompt + chat.answer for chat in chats])
        for chat, prompt, ids, counts in zip(chats, prompts, wholes, weights, strict=True):
            if ids[: len(prompt)] != prompt:
                detail = "the tokenizer merges the end of the prompt with the start of the answer"
                yield RowError(problems.UNSTABLE_TEMPLATE, detail)
            else:
                yield self._mask(chat, prompt, ids, counts)

    def _mask(self, chat: _Rendered, prompt: list[int], ids: list[int], weights: Sequence[float] | None) -> Encoded:
        if self._ends_with_control(chat.answer):
            end = next(i for i in reversed(range(len(ids))) if ids[i] in self._control_ids) + 1
        else:
            ids = ids + self._end_of_sequence()
            end = len(ids)
        counts = np.array(weights or [1.0] * chat.num_answers, np.float32)
        if self._targets == "last_answer":
            counts[:-1] = 0.0
        per_token = np.zeros(len(ids), np.float32)
        per_token[len(prompt) : end] = counts[-1]
        if chat.earlier:
            offsets = np.array(plain_backend(self._tokenizer).encode(chat.prompt, add_special_tokens=False).offsets)
            for count, (start, stop) in zip(counts[:-1], chat.earlier, strict=True):
                text = chat.prompt[start:stop]
                if self._ends_with_control(text):
                    stop = start + len(text.rstrip())
                inside = (offsets[:, 0] >= start) & (offsets[:, 1] <= stop) & (offsets[:, 1] > offsets[:, 0])
                per_token[: len(prompt)][inside] = count
        trainable = per_token > 0
        return Encoded(np.array(ids, np.int32), trainable, None if (per_token[trainable] == 1).all() else per_token)

    def _ends_with_control(self, text: str) -> bool:
        return text.rstrip().endswith(self._control_texts)


def _join_turns(turns: Sequence[tuple[str, str]]) -> _Rendered | RowError:
    """Checks that the renderings `(prompt, prompt with answer)` of the turns are prefixes of one another."""
    last = ""
    spans = []
    for number, (prompt, whole) in enumerate(turns, start=1):
        if not prompt.startswith(last) or not whole.startswith(prompt):
            what = "what came before it" if not prompt.startswith(last) else "its own prompt"
            return RowError(problems.UNSTABLE_TEMPLATE, f"answer {number} changes the rendering of {what}")
        spans.append((len(prompt), len(whole)))
        last = whole
    prompt, whole = turns[-1]
    return _Rendered(prompt, whole[len(prompt) :], spans[:-1])


def _joins_cleanly(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether texts that are tokenised apart read the same together; not so if a space is put before each."""
    first, second = token_ids(tokenizer, ["a", "b"])
    return str(tokenizer.decode(first + second, skip_special_tokens=False)) == "ab"
