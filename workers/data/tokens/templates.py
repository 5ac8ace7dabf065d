"""Chat templates as string concatenation: conversations of one shape need Jinja once.

A shape is who speaks in which order, and whether the head of an answer follows. The first conversation of a shape has
the template traced (tracing.py); the trace is compared with what Jinja makes of odd contents, and later with what it
makes of a part of the rows. What fits no trace is rendered by Jinja as ever: messages with more than role and content,
contents that the template looks into, templates that cannot be followed.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jinja2 import Template, TemplateError
from transformers import PreTrainedTokenizerBase

from workers.data.row import Message
from workers.data.tokens.render import render_texts
from workers.data.tokens.spot_check import SpotCheck
from workers.data.tokens.tracing import Guard, Place, Trace, UntraceableError, transformed
from workers.export.triton_backend.chat_template import RENDERING_FAULTS, compiled_in, counted, metering_environment
from workers.export.triton_backend.template_work import WORK, TemplateLimitError, Work

Conversation = Sequence[Message]
_Shape = tuple[bool, tuple[str, ...]]

_ODD_CONTENTS = (
    "What is 2 + 2?",
    "  two\n\nlines \t",
    "\n 'quotes' \"and\" <tags> & {braces} {{ x }} {% y %} %s {0} \\ \n",
    "\u2028e\u0301t\u00e9 \U0001f600\u200d\U0001f680 \u6f22\u5b57\u00a0\r\n\x1f\x85",
)
_MAX_SHAPES = 1024
"""Conversations of further shapes are rendered by Jinja."""


@dataclass(frozen=True)
class _Recipe:
    """What a template makes of the conversations of one shape whose contents pass the guards."""

    parts: list[str]
    """In the order of the output, empty where a content is to be."""
    slots: list[tuple[int, Place]]
    """Index into `parts`, and what stands there."""
    guards: list[Guard]

    def render(self, conversation: Conversation) -> str | None:
        """The text; None: the template looks into these contents."""
        for guard in self.guards:
            if not guard.holds(conversation[guard.place[0]]["content"]):
                return None
        parts = self.parts.copy()
        for index, place in self.slots:
            content = conversation[place[0]]["content"]
            parts[index] = transformed(content, place) if place[1] else content
        return "".join(parts)


class ChatTemplate:
    """The chat template of a tokenizer. Safe to use from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._recipes: dict[_Shape, _Recipe | None] = {}
        self._tracer: _Tracer | None = None
        self._lock = threading.Lock()
        self._check = SpotCheck()
        self._is_trusted = True

    @property
    def is_trusted(self) -> bool:
        """False once a trace has rendered a row otherwise than Jinja; Jinja renders every row from then on."""
        return self._is_trusted

    def render(
        self,
        conversations: Sequence[Conversation],
        *,
        add_generation_prompt: bool,
        tools: Sequence[str | None] | None = None,
    ) -> list[str]:
        """The texts that `render_texts` gives.

        Raises:
            jinja2.TemplateError: the template refuses one of them.
            ConfigError: it takes more than a rendering may.
        """
        offered = tools or [None] * len(conversations)

        def by_jinja(places: Sequence[int]) -> list[str]:
            chosen = [conversations[place] for place in places]
            return render_texts(
                self._tokenizer,
                chosen,
                add_generation_prompt=add_generation_prompt,
                tools=[offered[place] for place in places],
            )

        if self._is_trusted:
            texts = [
                None if tool else self._traced(conversation, add_generation_prompt)
                for conversation, tool in zip(conversations, offered, strict=True)
            ]
            missing = [place for place, text in enumerate(texts) if text is None]
            rendered = dict(zip(missing, by_jinja(missing), strict=True))
            checked = [place for place in self._check.indices(len(texts)) if texts[place] is not None]
            if by_jinja(checked) == [texts[place] for place in checked]:
                return [rendered[place] if text is None else text for place, text in enumerate(texts)]
            self._is_trusted = False
        return by_jinja(range(len(conversations)))

    def _traced(self, conversation: Conversation, add_generation_prompt: bool) -> str | None:
        if any(len(message) != 2 for message in conversation):
            return None
        shape = add_generation_prompt, tuple([message["role"] for message in conversation])
        if shape not in self._recipes and len(self._recipes) < _MAX_SHAPES:
            with self._lock:
                self._recipes[shape] = self._recipe(shape)
        recipe = self._recipes.get(shape)
        return None if recipe is None else recipe.render(conversation)

    def _recipe(self, shape: _Shape) -> _Recipe | None:
        """None: the template refuses the shape, or it cannot be followed."""
        add_generation_prompt, roles = shape
        try:
            self._tracer = self._tracer or _Tracer(self._tokenizer)
            recipe = self._tracer.trace(roles, add_generation_prompt)
            odd = [_odd_conversation(roles, start) for start in range(len(_ODD_CONTENTS))]
            expected = render_texts(self._tokenizer, odd, add_generation_prompt=add_generation_prompt)
        except (UntraceableError, TemplateLimitError, TemplateError, *RENDERING_FAULTS):
            return None
        found = [recipe.render(conversation) for conversation in odd]
        agrees = all(mine in (None, theirs) for mine, theirs in zip(found, expected, strict=True))
        return recipe if agrees else None


class _Tracer:
    """A chat template in an environment of its own, where strings are joined in sight."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        source = tokenizer.get_chat_template()
        self._template: Template = compiled_in(metering_environment(self._concat), source)
        self._variables = dict(tokenizer.special_tokens_map)
        self._trace = Trace()

    def trace(self, roles: Sequence[str], add_generation_prompt: bool) -> _Recipe:
        """
        Raises:
            UntraceableError: the template cannot be followed.
            jinja2.TemplateError: it refuses conversations of these roles.
            TemplateLimitError: it takes more than a rendering may.
        """
        self._trace = Trace()
        messages = [{"role": role, "content": self._trace.content((number, ()))} for number, role in enumerate(roles)]
        work = WORK.set(Work(messages))
        try:
            text = self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._variables,
            )
        finally:
            WORK.reset(work)
        constants, places = self._trace.pieces(text)
        parts = [""] * (len(constants) + len(places))
        parts[::2] = constants
        slots = [(2 * index + 1, place) for index, place in enumerate(places)]
        return _Recipe(parts, slots, list(self._trace.guards))

    def _concat(self, parts: Iterable[str]) -> str:
        return self._trace.concat(counted(parts))


def _odd_conversation(roles: Sequence[str], start: int) -> list[dict[str, str]]:
    return [
        {"role": role, "content": _ODD_CONTENTS[(start + number) % len(_ODD_CONTENTS)]}
        for number, role in enumerate(roles)
    ]
