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
from functools import partial
from itertools import starmap

import numpy as np
import numpy.typing as npt
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Message, is_segmented
from workers.data.tokens.arguments import lacking
from workers.data.tokens.batch_tokenizer import BatchTokenizer, Ids
from workers.data.tokens.render import plain_backend
from workers.data.tokens.rendered import Chat, Rendered, check_whole, join_turns
from workers.data.tokens.segment_tokens import stretches, tokenise_apart, tokenise_whole
from workers.data.tokens.targets import Targets
from workers.data.tokens.templates import ChatTemplate


@dataclass(frozen=True)
class Encoded:
    """One row, of full length."""

    input_ids: Ids
    trainable: npt.NDArray[np.bool_]
    """Shape (length,)."""
    weights: npt.NDArray[np.float32] | None = None
    """Shape (length,): what each token counts, 0 where it is not trained on; None: 1 each."""


class Encoder:
    """Turns rows into tokens by one tokenizer. Safe to use from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, targets: Targets = "answers") -> None:
        self._tokenizer = tokenizer
        self._targets = targets
        self._template = ChatTemplate(tokenizer)
        self._batches = BatchTokenizer(tokenizer)
        self._lacking = partial(lacking, tokenizer)
        added = tokenizer.added_tokens_decoder
        control_ids = {index for index, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        self._is_control = np.zeros(len(tokenizer), np.bool_)
        self._is_control[list(control_ids)] = True
        self._control_texts = tuple(str(tokenizer.convert_ids_to_tokens(index)) for index in control_ids)
        self._control_starts = {text[0] for text in self._control_texts}
        self._end_of_sequence = np.array([] if (end := tokenizer.eos_token_id) is None else [end], np.int32)
        self._joins_cleanly = _joins_cleanly(tokenizer, self._batches)

    @property
    def made_of(self) -> tuple[PreTrainedTokenizerBase, Targets]:
        """The arguments that it was made with."""
        return self._tokenizer, self._targets

    def __reduce__(self) -> tuple[type["Encoder"], tuple[PreTrainedTokenizerBase, Targets]]:
        """What is quick about it is made again where it is unpickled."""
        return Encoder, self.made_of

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
        encoded = self._encode_rendered(chats) if self.as_text else self._encode_chats(chats)
        results |= zip(kinds["chat"], encoded, strict=True)
        results |= zip(kinds["text"], self._encode_texts([str(rows[index]) for index in kinds["text"]]), strict=True)
        segmented = self._encode_segments([rows[index] for index in kinds["segments"]])
        results |= zip(kinds["segments"], segmented, strict=True)
        return [results[index] for index in range(len(rows))]

    @property
    def warnings(self) -> list[str]:
        """What was done the slow way because the quick way went wrong, for a person."""
        found = []
        if not self._template.is_trusted:
            found.append("the traced chat template rendered a row otherwise than Jinja; Jinja rendered what came after")
        if not self._batches.is_trusted:
            found.append("fastokens read a row otherwise than the tokenizer, which read what came after")
        return found

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
        suspects = [content for content in contents if any(start in content for start in self._control_starts)]
        return any(token in content for content in suspects for token in self._control_texts)

    def _chat(self, row: Content, weights: Sequence[float] | None, tools: str | None) -> Chat:
        """What its answers count is up to the job as well."""
        assert not isinstance(row, str), "a conversation"
        places = [place for place, message in enumerate(row) if message["role"] == "assistant"]
        counts = list(weights) if weights else [1.0] * len(places)
        if self._targets == "last_answer":
            counts[:-1] = [0.0] * len(counts[:-1])
        if row[-1]["role"] != "assistant":
            counts = [0.0] * len(counts)  # it is to be answered, and what was said before is context
        return Chat(row, tools, dict(zip(places, counts, strict=True)))

    # Texts

    def _encode_texts(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for ids in self._batches.encode(texts, add_special=True):
            yield self._whole(ids, is_ended=len(ids) > 0 and ids[-1] in self._end_of_sequence)

    def _encode_rendered(self, chats: Sequence[Chat]) -> Iterator[Encoded | RowError]:
        """Conversations as texts; special tokens are those that the template writes."""
        try:
            texts = self._texts([(chat.messages, chat.tools) for chat in chats], add_generation_prompt=False)
        except TemplateError as error:
            if len(chats) == 1:
                yield RowError(problems.REFUSED_BY_TEMPLATE, str(error))
                return
            for chat in chats:
                yield from self._encode_rendered([chat])
            return
        for chat, text, ids in zip(chats, texts, self._batches.encode(texts), strict=True):
            yield check_whole(chat, text, self._lacking) or self._whole(ids, is_ended=self._ends_with_control(text))

    def _whole(self, ids: Ids, *, is_ended: bool) -> Encoded:
        """All of a text, and its end."""
        trains = self._targets != "nothing"
        ids = ids if is_ended or not trains else np.concatenate([ids, self._end_of_sequence])
        return Encoded(ids, np.full(len(ids), trains))

    def _encode_segments(self, rows: Sequence[Content]) -> Iterator[Encoded]:
        """Texts whose parts are trained on or not; nothing is added to them."""
        texts = [stretches(row, everything=self.as_text) for row in rows if not isinstance(row, str)]
        if self._joins_cleanly:
            return starmap(Encoded, tokenise_apart(texts, self._batches))
        return (Encoded(*tokenise_whole(text, plain_backend(self._tokenizer))) for text in texts)

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
            yield join_turns(
                chat, [(next(prompts), next(ends)) for _ in chat.rendered_at], self._control_texts, self._lacking
            )

    def _texts(
        self, conversations: Sequence[tuple[Sequence[Message], str | None]], *, add_generation_prompt: bool
    ) -> list[str]:
        return self._template.render(
            [messages for messages, _ in conversations],
            add_generation_prompt=add_generation_prompt,
            tools=[tools for _, tools in conversations],
        )

    def _tokenised(self, chats: Sequence[Rendered]) -> Iterator[Encoded | RowError]:
        prompts = self._batches.encode([chat.prompt for chat in chats])
        if self._joins_cleanly:
            answers = self._batches.encode([chat.answer for chat in chats])
        else:
            wholes = self._batches.encode([chat.prompt + chat.answer for chat in chats])
            answers = [whole[len(prompt) :] for prompt, whole in zip(prompts, wholes, strict=True)]
        for number, (chat, prompt, answer) in enumerate(zip(chats, prompts, answers, strict=True)):
            if not self._joins_cleanly and not np.array_equal(wholes[number][: len(prompt)], prompt):
                detail = "the tokenizer merges the end of the prompt with the start of the answer"
                yield RowError(problems.UNSTABLE_TEMPLATE, detail)
            else:
                yield self._mask(chat, prompt, answer)

    def _mask(self, chat: Rendered, prompt: Ids, answer: Ids) -> Encoded:
        if not chat.answer:
            return Encoded(prompt, np.zeros(len(prompt), np.bool_))
        if self._ends_with_control(chat.answer):
            length = int(np.flatnonzero(self._is_control[answer])[-1]) + 1
        else:
            answer = np.concatenate([answer, self._end_of_sequence])
            length = len(answer)
        per_token = np.zeros(len(prompt) + len(answer), np.float32)
        per_token[len(prompt) : len(prompt) + length] = chat.weight
        if chat.earlier:
            spans = [(start, self._stop(chat.prompt, start, stop)) for start, stop, _ in chat.earlier]
            tokens = self._batches.token_spans(chat.prompt, prompt, spans)
            for inside, (_, _, count) in zip(tokens, chat.earlier, strict=True):
                per_token[inside] = count
        trainable = per_token > 0
        is_even = ((per_token == 1) == trainable).all()
        return Encoded(np.concatenate([prompt, answer]), trainable, None if is_even else per_token)

    def _stop(self, prompt: str, start: int, stop: int) -> int:
        """Where an earlier answer ends, with the control token that ends its turn, and without what comes after it."""
        text = prompt[start:stop]
        return start + len(text.rstrip()) if self._ends_with_control(text) else stop

    def _ends_with_control(self, text: str) -> bool:
        return text.rstrip().endswith(self._control_texts)


def _joins_cleanly(tokenizer: PreTrainedTokenizerBase, batches: BatchTokenizer) -> bool:
    """Whether texts that are tokenised apart read the same together; not so if a space is put before each."""
    ids = np.concatenate(batches.encode(["a", "b"]))
    return str(tokenizer.decode(ids.tolist(), skip_special_tokens=False)) == "ab"
