"""Records that are a conversation, or one question with its answer."""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Message, Notes, kind, read_list, read_text
from workers.data.shapes.messages import Conversation, read_messages
from workers.data.shapes.tools import read_tools
from workers.data.shapes.turns import check_answered, check_asked


def chat(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A list of messages. Raises RowError."""
    return _checked(read_messages(record["messages"], "messages"), record)


def sharegpt(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A list of messages of {from, value}, and perhaps a system message beside it. Raises RowError."""
    conversation = read_messages(record["conversations"], "conversations")
    return _checked(Conversation(_led(conversation.messages, record), conversation.weights), record)


def prompt_completion(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A question and its answer, as text or as messages. Answers that the prompt has are context. Raises RowError."""
    if isinstance(record["prompt"], str) and isinstance(record["completion"], str):
        messages = exchange(read_text(record, "prompt"), read_text(record, "completion"))
        return messages, Notes(tools=read_tools(record))
    prompt, completion = read_part(record, "prompt", "user"), read_part(record, "completion", "assistant")
    weights = completion.weights
    num_before = _num_answers(prompt.messages)
    if num_before:
        weights = [0.0] * num_before + (weights or [1.0] * _num_answers(completion.messages))
    return _checked(Conversation(prompt.messages + completion.messages, weights), record)


def prompt_only(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A question that the model itself is to answer. Raises RowError."""
    prompt = read_part(record, "prompt", "user")
    check_asked(prompt.messages)
    return prompt.messages, Notes(tools=read_tools(record))


def alpaca(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """An instruction, perhaps with an input, and the answer; earlier ones in `history`. Raises RowError."""
    question = read_text(record, "instruction")
    if record.get("input") is not None:
        extra = read_text(record, "input", may_be_empty=True)
        if extra.strip():
            question = f"{question}\n\n{extra}"
    messages = _led([], record) + _history(record) + exchange(question, read_text(record, "output"))
    return messages, Notes()


def exchange(prompt: str, answer: str) -> list[Message]:
    """One question, one answer."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def read_part(record: Mapping[str, Any], name: str, role: str) -> Conversation:
    """Text in the column `name` as a message of `role`, or the messages in it as they are.

    Raises:
        RowError: it is neither.
    """
    value = record[name]
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list):
        try:
            return read_messages(value, name)
        except RowError as error:
            raise RowError(error.reason, f"{name}: {error.detail}") from error
    if not isinstance(value, str):
        raise RowError(problems.WRONG_TYPE, f"{name} is {kind(value)}; expected text or a list of {{role, content}}")
    return Conversation([{"role": role, "content": read_text(record, name)}])


def _checked(conversation: Conversation, record: Mapping[str, Any]) -> tuple[Content, Notes]:
    check_answered(conversation.messages)
    return conversation.messages, Notes(weights=conversation.weights, tools=read_tools(record))


def _led(messages: list[Message], record: Mapping[str, Any]) -> list[Message]:
    """The messages with what the column `system` says before them."""
    if record.get("system") is None:
        return messages
    text = read_text(record, "system", may_be_empty=True)
    if not text.strip():
        return messages
    if messages and messages[0]["role"] == "system":
        raise RowError(problems.WRONG_ROLES, "a system message is in the column system and in the conversation")
    return [{"role": "system", "content": text}, *messages]


def _history(record: Mapping[str, Any]) -> list[Message]:
    """Earlier questions and answers; a list of [question, answer]."""
    if record.get("history") in (None, ""):
        return []
    messages: list[Message] = []
    for number, turn in enumerate(read_list(record["history"], "history", "[question, answer]"), start=1):
        where = f"history: turn {number} "
        if not isinstance(turn, list) or len(turn) != 2:
            raise RowError(problems.WRONG_TYPE, f"{where}is {kind(turn)}; expected [question, answer]")
        said = dict(zip(("question", "answer"), turn, strict=True))
        messages += exchange(read_text(said, "question", where=where), read_text(said, "answer", where=where))
    return messages


def _num_answers(messages: list[Message]) -> int:
    return sum(message["role"] == "assistant" for message in messages)
