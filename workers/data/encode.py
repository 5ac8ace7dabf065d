"""Conversations and texts as token ids with a mask of the tokens that are trained on.

What is trained on: answers of the assistant, from the end of what `render_prompt` gives for it, through the control
token that ends the turn (or, if the template writes none, through the template's own ending and an added
end-of-sequence token). Calls of tools and reasoning are part of an answer, as far as the template writes them. Texts
are trained on as a whole, and so are conversations where the job learns rendered text; of segments those that say so. A
weight of an answer holds for all of its tokens; an answer of weight 0 is context.

No template needs `{% generation %}` marks. Instead each conversation is rendered up to each answer that counts, with
and without it, and each of these renderings must be a prefix of the next. A template for which that is not so (it
rewrites earlier turns) is refused: there would be no such thing as the tokens of an answer.

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
from workers.data.rendered import Chat, Rendered, join_turns
from workers.data.row import TARGET, Content, Message, is_segmented
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
        self,
        rows: Sequence[Content],
        weights: Sequence[Sequence[float] | None] | None = None,
        tools: Sequence[str | None] | None = None,
    ) -> list[Encoded | RowError]:
        """Tokens and mask of each row, or why it has none: refused by the template, or the template is unstable.

        `weights` says of each row what its answers count; None: 1 each. `tools` are those of `Notes`.
        """
        results: dict[int, Encoded | RowError] = {}
        kinds: dict[str, list[int]] = {"chat": [], "text": [], "segments": []}
        for index, row in enumerate(rows):
            kinds["text" if isinstance(row, str) else "segments" if is_segmented(row) else "chat"].append(index)
        chats = [
            self._chat(rows[index], weights[index] if weights else None, tools[index] if tools else None)
            for index in kinds["chat"]
        ]
        encoded = map(self._encode_rendered, chats) if self.as_text else self._encode_chats(chats)
        results |= zip(kinds["chat"], encoded, strict=True)
        results |= zip(kinds["text"], self._encode_texts([str(rows[index]) for index in kinds["text"]]), strict=True)
        results |= {index: self._encode_segments(rows[index]) for index in kinds["segments"]}
        return [results[index] for index in range(len(rows))]

    @property
    def as_text(self) -> bool:
        """Whether a conversation is no more than its rendered text."""
        return self._targets in ("everything", "nothing")

    def wants_targets(self, row: Content) -> bool:
        """Whether any token of the row is to be trained on.

        If none is, rows are what a tokenizer makes of them, with no end. Nor is one of a prompt without an answer.
        """
        is_asked = not isinstance(row, str) and row[-1]["role"] in ("user", "tool")
        return self._targets != "nothing" and (self.as_text or not is_asked)

    def has_control_text(self, row: Content) -> bool:
        """Whether a content spells one of the tokenizer's control tokens."""
        if not isinstance(row, str) and is_segmented(row):
            return False  # whoever writes segments means them
        contents = [row] if isinstance(row, str) else [message["content"] for message in row]
        return any(token in content for content in contents for token in self._control_texts)

    def _chat(self, row: Content, weights: Sequence[float] | None, tools: str | None) -> Chat:
        """What its answers count is up to the job as well."""
        assert not isinstance(row, str), "a conversation"
        places = [place for place, message in enumerate(row) if message["role"] == "assistant"]
        counts = list(weights) if weights else [1.0] * len(places)
        if self._targets == "last_answer":
            counts[:-1] = [0.0] * len(counts[:-1])
        return Chat(row, tools, dict(zip(places, counts, strict=True)))

    # Texts

    def _encode_texts(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for ids in token_ids(self._tokenizer, texts, add_special=True):
            yield self._whole(ids, is_ended=bool(ids) and ids[-1] == self._tokenizer.eos_token_id)

    def _encode_rendered(self, chat: Chat) -> Encoded | RowError:
        """The conversation as one text; special tokens are those that the template writes."""
        try:
            (text,) = render_texts(self._tokenizer, [chat.messages], add_generation_prompt=False, tools=[chat.tools])
        except TemplateError as error:
            return RowError(problems.REFUSED_BY_TEMPLATE, str(error))
        return self._whole(token_ids(self._tokenizer, [text])[0], is_ended=self._ends_with_control(text))

    def _whole(self, ids: list[int], *, is_ended: bool) -> Encoded:
        """All of a text, and its end."""
        trains = self._targets != "nothing"
        ids = ids if is_ended or not trains else ids + self._end_of_sequence()
        return Encoded(np.array(ids, np.int32), np.full(len(ids), trains))

    def _encode_segments(self, row: Content) -> Encoded:
        """The segments end to end, with nothing added; a token counts if all of it is in segments that do."""
        assert not isinstance(row, str), "segments"
        text = "".join(segment["content"] for segment in row)
        encoding = plain_backend(self._tokenizer).encode(text, add_special_tokens=False)
        ends = np.cumsum([0, *(len(segment["content"]) for segment in row)])
        counts = np.zeros(len(text), np.bool_)
        for segment, start, stop in zip(row, ends, ends[1:], strict=True):
            counts[start:stop] = segment["role"] == TARGET or self._targets == "everything"
        # How many characters of each token count; all of them must.
        before = np.cumsum([0, *counts])
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        lengths = offsets[:, 1] - offsets[:, 0]
        trainable = (before[offsets[:, 1]] - before[offsets[:, 0]] == lengths) & (lengths > 0)
        return Encoded(np.array(encoding.ids, np.int32), trainable)

    def _end_of_sequence(self) -> list[int]:
        end = self._tokenizer.eos_token_id
        return [] if end is None else [end]

    # Conversations

    def _encode_chats(self, chats: Sequence[Chat]) -> Iterator[Encoded | RowError]:
        rendered = list(self._render(chats))
        good = [outcome for outcome in rendered if isinstance(outcome, Rendered)]
        encoded = iter(self._tokenised(good))
        for outcome in rendered:
            yield outcome if isinstance(outcome, RowError) else next(encoded)

    def _render(self, chats: Sequence[Chat]) -> Iterator[Rendered | RowError]:
        heads = [(chat.messages[:place], chat.tools) for chat in chats for place in chat.rendered_at]
        wholes = [(chat.messages[: place + 1], chat.tools) for chat in chats for place in chat.rendered_at]
        try:
            prompts = iter(self._texts(heads, add_generation_prompt=True))
            ends = iter(self._texts(wholes, add_generation_prompt=False))
        except TemplateError as error:
            if len(chats) == 1:
                yield RowError(problems.REFUSED_BY_TEMPLATE, str(error))
                return
            for chat in chats:
                yield from self._render([chat])
            return
        for chat in chats:
            yield join_turns(chat, [(next(prompts), next(ends)) for _ in chat.rendered_at], self._control_texts)

    def _texts(
        self, conversations: Sequence[tuple[Sequence[Message], str | None]], *, add_generation_prompt: bool
    ) -> list[str]:
        return render_texts(
            self._tokenizer,
            [messages for messages, _ in conversations],
            add_generation_prompt=add_generation_prompt,
            tools=[tools for _, tools in conversations],
        )

    def _tokenised(self, chats: Sequence[Rendered]) -> Iterator[Encoded | RowError]:
        prompts = token_ids(self._tokenizer, [chat.prompt for chat in chats])
        if self._joins_cleanly:
            answers = token_ids(self._tokenizer, [chat.answer for chat in chats])
            wholes = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        else:
            wholes = token_ids(self._tokenizer, [chat.prompt + chat.answer for chat in chats])
        for chat, prompt, ids in zip(chats, prompts, wholes, strict=True):
            if ids[: len(prompt)] != prompt:
                detail = "the tokenizer merges the end of the prompt with the start of the answer"
                yield RowError(problems.UNSTABLE_TEMPLATE, detail)
            else:
                yield self._mask(chat, prompt, ids)

    def _mask(self, chat: Rendered, prompt: list[int], ids: list[int]) -> Encoded:
        if not chat.answer:
            return Encoded(np.array(ids, np.int32), np.zeros(len(ids), np.bool_))
        if self._ends_with_control(chat.answer):
            end = next(i for i in reversed(range(len(ids))) if ids[i] in self._control_ids) + 1
        else:
            ids = ids + self._end_of_sequence()
            end = len(ids)
        per_token = np.zeros(len(ids), np.float32)
        per_token[len(prompt) : end] = chat.weight
        if chat.earlier:
            offsets = np.array(plain_backend(self._tokenizer).encode(chat.prompt, add_special_tokens=False).offsets)
            for start, stop, count in chat.earlier:
                text = chat.prompt[start:stop]
                if self._ends_with_control(text):
                    stop = start + len(text.rstrip())
                inside = (offsets[:, 0] >= start) & (offsets[:, 1] <= stop) & (offsets[:, 1] > offsets[:, 0])
                per_token[: len(prompt)][inside] = count
        trainable = per_token > 0
        return Encoded(np.array(ids, np.int32), trainable, None if (per_token[trainable] == 1).all() else per_token)

    def _ends_with_control(self, text: str) -> bool:
        return text.rstrip().endswith(self._control_texts)


def _joins_cleanly(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether texts that are tokenised apart read the same together; not so if a space is put before each."""
    first, second = token_ids(tokenizer, ["a", "b"])
    return str(tokenizer.decode(first + second, skip_special_tokens=False)) == "ab"
