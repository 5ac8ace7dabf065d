"""Conversations as the chat template writes them, and whether it wrote all that is to be learned from them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Message
from workers.data.shapes.tools import names_of

_MANY = 32  # characters of an answer that no template writes by chance
_REMEDY = "use a base_model whose template writes them, give data.chat_template, or leave them out of the rows"


@dataclass(frozen=True)
class Chat:
    """A conversation to be rendered."""

    messages: list[Message]
    tools: str | None
    """As in `Notes`."""
    counts: Mapping[int, float]
    """What each answer counts, by its place among the messages."""

    @property
    def rendered_at(self) -> list[int]:
        """Places of the answers up to which it is rendered: those that count, and always the end.

        The end is the last answer, or what comes after a prompt that has none.
        """
        last = len(self.messages) - (self.messages[-1]["role"] == "assistant")
        return [place for place, count in self.counts.items() if count > 0 and place < last] + [last]


@dataclass(frozen=True)
class Rendered:
    """A conversation as text."""

    prompt: str
    """All before the last answer, with the head of that answer."""
    answer: str
    """The last answer and what the template puts after it; empty where there is none."""
    weight: float
    """What the last answer counts."""
    earlier: list[tuple[int, int, float]]
    """Where in `prompt` earlier answers that count are, in characters, with what ends them; and what each counts."""


def join_turns(
    chat: Chat, turns: Sequence[tuple[str, str]], control_texts: Sequence[str], lacking: Callable[[], frozenset[str]]
) -> Rendered | RowError:
    """Checks that the renderings `(prompt, prompt with answer)` of the turns are prefixes of one another, and complete.

    Args:
        chat: the conversation.
        turns: one for each of `chat.rendered_at`.
        control_texts: of the tokenizer; an answer of nothing else is none.
        lacking: what the template never writes, see `workers.data.tokens.arguments`.
    """
    last = ""
    spans: list[tuple[int, int, float]] = []
    for place, (prompt, whole) in zip(chat.rendered_at, turns, strict=True):
        if place == len(chat.messages):
            whole = prompt
        number = sum(other <= place for other in chat.counts)
        if not prompt.startswith(last) or not whole.startswith(prompt):
            what = "what came before it" if not prompt.startswith(last) else "its own prompt"
            return RowError(problems.UNSTABLE_TEMPLATE, f"answer {number} changes the rendering of {what}")
        if chat.counts.get(place):
            lost = _lost_of_answer(chat.messages[place], whole[len(prompt) :], control_texts)
            if lost:
                return _refused(f"{lost} of answer {number}")
        spans.append((len(prompt), len(whole), chat.counts.get(place, 0.0)))
        last = whole
    prompt, whole = turns[-1]
    lost = _lost_of_tools(chat.messages[: chat.rendered_at[-1]], chat.tools, prompt, lacking)
    if lost:
        return _refused(lost)
    return Rendered(prompt, last[len(prompt) :], spans[-1][2], spans[:-1])


def check_whole(chat: Chat, text: str, lacking: Callable[[], frozenset[str]]) -> RowError | None:
    """Why a conversation that is to be learned as `text` cannot be; None: all of it is there.

    Of reasoning the last one has to be there: a template may leave out that of earlier answers.
    """
    reasoning = [message["reasoning_content"] for message in chat.messages if "reasoning_content" in message]
    lost = _lost_of_tools(chat.messages, chat.tools, text, lacking)
    if not lost and reasoning and reasoning[-1].strip() not in text:
        lost = "the reasoning"
    return _refused(lost) if lost else None


def _refused(lost: str) -> RowError:
    return RowError(problems.REFUSED_BY_TEMPLATE, f"it leaves out {lost}; {_REMEDY}")


def _lost_of_answer(message: Message, text: str, control_texts: Sequence[str]) -> str:
    """What the template left out of an answer that is trained on; empty if nothing."""
    for call in message.get("tool_calls", ()):
        if call["function"]["name"] not in text:
            return f"the call of {call['function']['name']}"
    if message.get("reasoning_content", "").strip() not in text:
        return "the reasoning"
    content = message["content"].strip()
    if content[:_MANY] in text:
        return ""
    for control in control_texts:
        text = text.replace(control, "")
    return "" if text.strip() else "the words"


def _lost_of_tools(
    messages: Sequence[Message], tools: str | None, text: str, lacking: Callable[[], frozenset[str]]
) -> str:
    """What the template left out of the tools, their calls and their results; empty if nothing."""
    missing = [name for name in names_of(tools) if name not in text or "tools" in lacking()] if tools else []
    if missing:
        return f"the tool {missing[0]}"
    for number, message in enumerate(messages, start=1):
        if "tool_calls" in message and "calls" in lacking():
            return f"the calls of message {number}"
        content = message["content"].strip() if message["role"] == "tool" else ""
        if content not in text and _escaped(content) not in text:
            return f"the result of a tool, message {number}"
    return ""


def _escaped(text: str) -> str:
    """As within a JSON text."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
