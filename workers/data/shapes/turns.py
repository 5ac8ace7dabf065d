"""Who speaks when: a system message perhaps, then user and assistant in turn.

After an answer that calls tools come their results, then the assistant again. A conversation may end with the calls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Message

_RULE = "system may only come first, then user and assistant take turns"


@dataclass
class _Calls:
    """The calls of an answer that wait for their results."""

    number: int
    """Of the answer's message."""
    waiting: list[str | None] = field(default_factory=list)
    """Their ids; None for a call without one."""
    num_results: int = 0

    @property
    def is_answered(self) -> bool:
        """Whether the assistant may go on. Without ids one result may stand for several calls."""
        return not self.waiting or (self.num_results > 0 and None in self.waiting)

    def take(self, number: int, message: Message) -> None:
        """
        Raises:
            RowError: the message answers none of them.
        """
        id_ = message.get("tool_call_id")
        place = next((i for i, one in enumerate(self.waiting) if id_ is None or one in (None, id_)), None)
        if place is None:
            known = ", ".join(repr(one) for one in self.waiting)
            why = f"tool_call_id {id_!r} is none of {known}" if known else "no call waits for one"
            raise RowError(problems.WRONG_ROLES, f"message {number} is the result of no tool call: {why}")
        del self.waiting[place]
        self.num_results += 1


def check_answered(messages: Sequence[Message]) -> None:
    """
    Raises:
        RowError: somebody speaks out of turn, or the assistant does not have the last word.
    """
    check_turns(messages)
    last = messages[-1]["role"] if messages else "missing"
    if last != "assistant":
        raise RowError(problems.WRONG_ROLES, f"the last message is {last}; expected an answer of the assistant")


def check_asked(messages: Sequence[Message]) -> None:
    """
    Raises:
        RowError: somebody speaks out of turn, or there is nothing to be answered.
    """
    check_turns(messages)
    last = messages[-1]["role"] if messages else "missing"
    if last not in ("user", "tool"):
        raise RowError(problems.WRONG_ROLES, f"the last message is {last}; expected one that is to be answered")


def check_turns(messages: Sequence[Message]) -> None:
    """
    Raises:
        RowError: somebody speaks out of turn, a tool call has no result, or a result no call.
    """
    expected = "user"
    calls = _Calls(0)
    for number, message in enumerate(messages, start=1):
        role = message["role"]
        if role == "system" and number == 1:
            continue
        if role == "tool":
            calls.take(number, message)
            expected = "assistant"
            continue
        if not calls.is_answered:
            raise RowError(
                problems.WRONG_ROLES,
                f"message {number} is {role}, but a tool call of message {calls.number} has no result; expected a tool",
            )
        if role != expected:
            raise RowError(problems.WRONG_ROLES, f"message {number} is {role}, expected {expected}: {_RULE}")
        if "tool_calls" in message or calls.waiting:
            calls = _Calls(number, [call.get("id") for call in message.get("tool_calls", ())])
        expected = "assistant" if role == "user" else "user"
