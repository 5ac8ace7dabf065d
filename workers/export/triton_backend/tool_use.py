"""What a request says of tools, in the form that the model was trained on, as far as its chat template writes them.

`tools.json` beside the weights says what the export found out about the template (`workers/export/tool_probe.py`).
Tools and calls come as OpenAI has them; what is made of them equals, key by key, what preprocessing makes of a row
(`workers/data/shapes/tools.py`), because the template prints it and the model has learned that. A test holds both
against each other. Needs nothing of Luthier.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .generation import RequestError

MAX_TOOLS = 128
MAX_DEPTH = 64
"""Most objects and lists within each other in a schema or in arguments."""


@dataclass(frozen=True)
class CallForm:
    """How the template writes the calls of an answer. Names and arguments, as JSON, stand between these texts."""

    before_name: str
    before_arguments: str
    between: str | None
    """From the arguments of a call to the name of the next; None: an answer has one call."""
    after: str
    """What follows the arguments of the last call, with the token that ends the turn."""
    begins_answer: bool
    """Whether an answer with calls has no text before them."""


@dataclass(frozen=True)
class ToolUse:
    """What the chat template does with tools."""

    writes_tools: bool
    writes_calls: bool
    arguments_as_text: bool
    """Whether it wants the arguments of a call as JSON text, and not as an object that it writes as JSON itself."""
    calls: CallForm | None
    """None: calls cannot be told from text, so an answer is always text."""

    @classmethod
    def read(cls, path: Path) -> "ToolUse":
        """From a file that `write` made."""
        document = json.loads(path.read_text(encoding="utf-8"))
        calls = document.pop("calls")
        return cls(**document, calls=None if calls is None else CallForm(**calls))

    def write(self, path: Path) -> None:
        """To a new file."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def tools(self, value: Any) -> list[dict[str, Any]] | None:
        """The tools of a request as in training; None where it has none.

        Raises:
            RequestError: it is no list of functions, or the template would leave them out.
        """
        if value is None or value == []:
            return None
        if not isinstance(value, list):
            raise RequestError(f"tools must be a list, not {_kind(value)}")
        if len(value) > MAX_TOOLS:
            raise RequestError(f"{len(value)} tools are too many; offer at most {MAX_TOOLS}")
        if not self.writes_tools:
            raise RequestError(
                "this model's chat template does not write tools, so it cannot be offered any; leave them out, or "
                "train with a data.chat_template that writes them"
            )
        return [_tool(number, tool) for number, tool in enumerate(value)]

    def messages(self, value: Any) -> Any:
        """The messages of a request with their calls as the template wants them; all else is left as it is.

        Raises:
            RequestError: one has calls that are none, or the template would leave them out.
        """
        if not isinstance(value, list):
            return value
        return [self._message(number, message) for number, message in enumerate(value)]

    def _message(self, number: int, message: Any) -> Any:
        if not isinstance(message, dict) or "tool_calls" not in message:
            return message
        where = f"messages[{number}].tool_calls"
        calls = message["tool_calls"]
        others = {key: given for key, given in message.items() if key != "tool_calls"}
        if not calls:
            return others
        if message.get("role") != "assistant":
            raise RequestError(f"{where} are for messages of the assistant")
        if not isinstance(calls, list):
            raise RequestError(f"{where} must be a list, not {_kind(calls)}")
        if not self.writes_calls:
            raise RequestError(f"{where}: this model's chat template does not write calls of tools; leave them out")
        content = message.get("content")
        read = [self._call(f"{where}[{place}]", call) for place, call in enumerate(calls)]
        return {**others, "content": "" if content is None else content, "tool_calls": read}

    def _call(self, where: str, call: Any) -> dict[str, Any]:
        function = _function(where, call)
        given = function.get("arguments")
        if isinstance(given, str):
            given = _parse(given, f"{where}.function.arguments") if given else {}
        else:
            given = {} if given is None else _without_nulls(given, f"{where}.function.arguments")
        if not isinstance(given, dict):
            raise RequestError(f"{where}.function.arguments must be an object, not {_kind(given)}")
        arguments = json.dumps(given, ensure_ascii=False) if self.arguments_as_text else given
        named = {} if call.get("id") is None else {"id": str(call["id"])}
        return {"type": "function", **named, "function": {"name": function["name"], "arguments": arguments}}


def _tool(number: int, tool: Any) -> dict[str, Any]:
    where = f"tools[{number}]"
    function = _function(where, tool)
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RequestError(f"{where}.function.parameters must be an object, a JSON schema, not {_kind(parameters)}")
    return {"type": "function", "function": _without_nulls(function, f"{where}.function")}


def _function(where: str, value: Any) -> dict[str, Any]:
    """The `function` of a tool or a call, which has a name."""
    if not isinstance(value, dict) or not isinstance(value.get("function"), dict):
        raise RequestError(f'{where} must be {{"type": "function", "function": {{...}}}}')
    if value.get("type", "function") != "function":
        raise RequestError(f"{where}.type must be 'function', not {value['type']!r}")
    function: dict[str, Any] = value["function"]
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise RequestError(f"{where}.function.name must be the name of a function")
    return function


def _without_nulls(value: Any, where: str, depth: int = 0) -> Any:
    """`value` without the keys that have no value, as rows have it."""
    if depth > MAX_DEPTH:
        raise RequestError(f"{where} has more than {MAX_DEPTH} objects and lists within each other")
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner, where, depth + 1) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner, where, depth + 1) for inner in value] if isinstance(value, list) else value


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where} is not JSON: {error}") from error


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
