"""The methods that a model does: `paraphrase`, `back_translation`, `synthetic`.

What a model answers is checked before it is a row: it must have come to an end, say something, be of a length like that
of what it was made of, and keep to the letter what nobody may change (protect.py). Whether it means the same nobody can
tell without reading it; that is why such rows are marked.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from workers.data.augment.origin import ANSWERS_ARE_KEPT, ASKED, Origin, Refusal
from workers.data.augment.protect import protected_spans
from workers.data.augment.remembering import RememberingWriter
from workers.data.augment.writer import Reply, Request
from workers.data.row import Content, Message, Notes

CUT_OFF = "the model's answer was cut off"
SILENT = "the model said nothing"
WRONG_LENGTH = "far shorter or longer than what it was made of"
LOST = "what must stay is lost"
WRONG_SHAPE = "not in the shape that was asked for"
NO_SEED = "no row for this method"

_MAX_RATIO = 4
_SPARE_CHARACTERS = 80
"""A short text may grow by so many, whatever the ratio."""
_NUM_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 200
_SURROGATE = re.compile("[\ud800-\udfff]")

_REPHRASE = (
    "Rewrite the text between the lines so that it says the same in other words. Keep its language. Keep names, "
    "numbers, code, links and everything in brackets or braces exactly as they are. Answer with the rewritten text "
    "alone.\n---\n{text}\n---"
)
_TRANSLATE = (
    "Translate the text between the lines into {language}. Keep names, numbers, code, links and everything in brackets "
    "or braces exactly as they are. Answer with the translation alone.\n---\n{text}\n---"
)
_TRANSLATE_BACK = (
    "Translate the text between the lines into the language of this example: {example!r}. Keep names, numbers, code, "
    "links and everything in brackets or braces exactly as they are. Answer with the translation alone.\n---\n{text}"
    "\n---"
)
_INVENT = (
    "Here are examples of a data set, one JSON object per line:\n{examples}\nWrite one more example of the same kind "
    "and language{label}, about something else. Answer with one JSON object alone, with the keys {keys}."
)


class Paraphrase:
    """A `Method`: the last thing that is asked, said otherwise."""

    def __init__(self, writer: RememberingWriter) -> None:
        self._writer = writer

    def __call__(self, origins: Sequence[Origin], pool: Sequence[Origin]) -> list[Content | Refusal]:
        """A paraphrase of each."""
        asked = [_asked(origin) for origin in origins]
        prompts = [_REPHRASE.format(text=text) if isinstance(text, str) else text for text in asked]
        said = _answers(self._writer, origins, prompts, "paraphrase")
        return [_replaced(*row) for row in zip(origins, asked, said, strict=True)]


class BackTranslation:
    """A `Method`: the last thing that is asked, through another language and back (Sennrich et al., 2016,
    arXiv:1511.06709)."""

    def __init__(self, writer: RememberingWriter, language: str) -> None:
        self._writer = writer
        self._language = language

    def __call__(self, origins: Sequence[Origin], pool: Sequence[Origin]) -> list[Content | Refusal]:
        """A translation there and back of each."""
        asked = [_asked(origin) for origin in origins]
        there = [
            _TRANSLATE.format(language=self._language, text=text) if isinstance(text, str) else text for text in asked
        ]
        abroad = _answers(self._writer, origins, there, "translation")
        back = [
            _TRANSLATE_BACK.format(example=str(text)[:_EXAMPLE_CHARACTERS], text=foreign)
            if isinstance(foreign, str)
            else foreign
            for text, foreign in zip(asked, abroad, strict=True)
        ]
        said = _answers(self._writer, origins, back, "translation back")
        return [_replaced(*row) for row in zip(origins, asked, said, strict=True)]


class Synthetic:
    """A `Method`: a new row like some that are there, as in Self-Instruct (Wang et al., 2022, arXiv:2212.10560).

    Rows are texts, or one question with one answer; a system message before it stays. A class is said to the model, and
    its examples are of that class.
    """

    def __init__(self, writer: RememberingWriter) -> None:
        self._writer = writer

    def __call__(self, origins: Sequence[Origin], pool: Sequence[Origin]) -> list[Content | Refusal]:
        """A new row for each, which is the first of its examples."""
        prompts = [self._prompt(origin, pool) for origin in origins]
        said = _answers(self._writer, origins, prompts, "synthetic")
        return [
            _invented(origin, answer) if isinstance(answer, str) else answer
            for origin, answer in zip(origins, said, strict=True)
        ]

    def _prompt(self, origin: Origin, pool: Sequence[Origin]) -> str | Refusal:
        own = _fields(origin)
        if own is None:
            return Refusal(NO_SEED, "only texts, and one question with one answer, are made anew")
        alike = [
            fields
            for other in pool
            if other.ordinal != origin.ordinal
            and (other.notes.label, other.notes.labels) == (origin.notes.label, origin.notes.labels)
            and (fields := _fields(other)) is not None
            and fields.keys() == own.keys()
        ]
        random = origin.random("examples")
        examples = [own, *random.sample(alike, min(len(alike), _NUM_EXAMPLES - 1))]
        return _INVENT.format(
            examples="\n".join(json.dumps(fields, ensure_ascii=False) for fields in examples),
            label=_classes(origin.notes),
            keys=" and ".join(json.dumps(key) for key in own),
        )


def _classes(notes: Notes) -> str:
    """Which classes the example is to be of, for a model; empty where rows have none."""
    if notes.labels is None:
        return f" of the class {notes.label!r}" if notes.label else ""
    if not notes.labels:
        return " of none of the classes that other examples have"
    if len(notes.labels) == 1:
        return f" of the class {notes.labels[0]!r} alone"
    return f" of all of the classes {' and '.join(map(repr, notes.labels))}, and of no other"


def _asked(origin: Origin) -> str | Refusal:
    """The text that a model may say otherwise."""
    if origin.learns_all:
        return Refusal(ANSWERS_ARE_KEPT, "all of it is learned; a model does not rewrite that")
    if isinstance(origin.content, str):
        return origin.content
    texts = [str(message["content"]) for message in origin.content if message["role"] in ASKED]
    return texts[-1] if texts and texts[-1].strip() else Refusal(NO_SEED, "nothing is asked in it")


def _answers(
    writer: RememberingWriter, origins: Sequence[Origin], prompts: Sequence[str | Refusal], what: str
) -> list[str | Refusal]:
    """What the model says to each prompt; a refusal stays one."""
    requests = [
        Request(prompt, origin.random(what).getrandbits(31))
        for origin, prompt in zip(origins, prompts, strict=True)
        if isinstance(prompt, str)
    ]
    replies = iter(writer.write(requests))
    return [_text_of(next(replies)) if isinstance(prompt, str) else prompt for prompt in prompts]


def _text_of(reply: Reply | Refusal) -> str | Refusal:
    if isinstance(reply, Refusal):
        return reply
    if not reply.is_whole:
        return Refusal(CUT_OFF, "data.augment.writer.max_new_tokens was reached")
    lines = [line for line in reply.text.strip().split("\n") if line.strip() != "---"]
    text = "\n".join(lines).strip()
    if not text:
        return Refusal(SILENT, "nothing but white space")
    return text if _is_text(text) else Refusal(WRONG_SHAPE, "holds half of a surrogate pair")


def _is_text(value: object) -> bool:
    """Whether it is text that says something and can be written down: JSON can spell half of a surrogate pair."""
    return isinstance(value, str) and bool(value.strip()) and not _SURROGATE.search(value)


def _replaced(origin: Origin, before: str | Refusal, after: str | Refusal) -> Content | Refusal:
    """The row with other words for the last thing that is asked, if they can stand for it."""
    if isinstance(before, Refusal):
        return before
    if isinstance(after, Refusal):
        return after
    if not _is_of_like_length(before, after):
        return Refusal(WRONG_LENGTH, f"{len(after)} characters for {len(before)}")
    for start, end in protected_spans(before):
        if before[start:end] not in after:
            return Refusal(LOST, f"{before[start:end][:_EXAMPLE_CHARACTERS]!r} is not in the answer")
    if isinstance(origin.content, str):
        return after
    messages = list(origin.content)
    place = max(number for number, message in enumerate(messages) if message["role"] in ASKED)
    messages[place] = {**messages[place], "content": after}
    return messages


def _is_of_like_length(before: str, after: str) -> bool:
    return (
        len(before) <= _MAX_RATIO * len(after) + _SPARE_CHARACTERS
        and len(after) <= _MAX_RATIO * len(before) + _SPARE_CHARACTERS
    )


def _fields(origin: Origin) -> dict[str, str] | None:
    """What a model is shown of a row, and asked for; None: it cannot make such rows."""
    content = origin.content
    if origin.notes.rejected is not None or origin.notes.tools is not None:
        return None
    if isinstance(content, str):
        return {"text": content}
    turns = [message for message in content if message["role"] != "system"]
    if any(message.keys() != {"role", "content"} for message in turns):
        return None
    names = {("user",): ("prompt",), ("user", "assistant"): ("prompt", "completion")}
    keys = names.get(tuple(message["role"] for message in turns))
    return None if keys is None else {key: message["content"] for key, message in zip(keys, turns, strict=True)}


def _invented(origin: Origin, answer: str) -> Content | Refusal:
    """The row that the model made up, if it is one."""
    own = _fields(origin)
    assert own is not None, "nobody asks for rows of another shape"
    fields = _first_object(answer)
    if fields is None or fields.keys() != own.keys() or not all(map(_is_text, fields.values())):
        return Refusal(WRONG_SHAPE, f"expected one JSON object with {', '.join(own)}, each with text")
    if not all(_is_of_like_length(own[key], fields[key]) for key in own):
        return Refusal(WRONG_LENGTH, "not like that of the first example")
    if isinstance(origin.content, str):
        return str(fields["text"])
    system: list[Message] = [message for message in origin.content if message["role"] == "system"]
    roles = {"prompt": "user", "completion": "assistant"}
    return [*system, *({"role": roles[key], "content": fields[key]} for key in own)]


def _first_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text, which models like to wrap in words or fences."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
