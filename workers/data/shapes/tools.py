"""Tools that a row offers, and the calls of them that its messages make, in one form: OpenAI's.

Arguments become JSON text, whose keys keep their order, because it is what the model learns to write. In arguments and
schemas that are given as objects, keys without a value are left out: Parquet and Arrow put the keys of all rows into
every one.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import kind, read_list


def read_tools(record: Mapping[str, Any], name: str = "tools") -> str | None:
    """The functions in the column `name`, as `Notes.tools` has them; None where there are none.

    Raises:
        RowError: it is not a list of function schemas.
    """
    value = record.get(name)
    if value is None or value in ("", "null"):
        return None
    tools = [_tool(number, tool, name) for number, tool in enumerate(read_list(value, name, "tools"), start=1)]
    return _json(tools) if tools else None


def read_calls(value: object, where: str) -> list[dict[str, Any]]:
    """The calls of a message, one or several.

    Raises:
        RowError: one is no call of a function.
    """
    calls = [value] if isinstance(value, dict) else read_list(value, f"{where}tool_calls", "calls")
    return [_call(number, call, where) for number, call in enumerate(calls, start=1)]


def parse_calls(text: str, where: str) -> list[dict[str, Any]]:
    """The calls that are written as JSON text: one object or a list of them.

    Raises:
        RowError: the text is something else.
    """
    try:
        return read_calls(json.loads(text), where)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RowError):
            raise
        expected = "expected a call as JSON, {name, arguments}"
        raise RowError(problems.BROKEN_JSON, f"{where}{error}; {expected}") from error


@lru_cache(maxsize=1024)
def names_of(tools: str) -> tuple[str, ...]:
    """What the functions of `Notes.tools` are called. Many rows offer the same ones."""
    return tuple(tool["function"]["name"] for tool in json.loads(tools))


def _tool(number: int, tool: object, column: str) -> dict[str, Any]:
    where = f"{column}: tool {number} "
    if isinstance(tool, str):
        tool = _parse(tool, where)
    function = tool.get("function") if isinstance(tool, dict) and "function" in tool else tool
    if not isinstance(tool, dict) or not isinstance(function, dict):
        raise RowError(problems.WRONG_TYPE, f"{where}is {kind(function)}; expected {{type, function}}")
    if tool.get("type") not in (None, "function"):
        raise RowError(problems.WRONG_TYPE, f"{where}is of type {tool['type']!r}; expected a function")
    _check_name(function, where)
    schema = {key: value for key, value in function.items() if key != "type" or function is not tool}
    return {"type": "function", "function": _without_nulls(schema)}


def _call(number: int, call: object, where: str) -> dict[str, Any]:
    where = f"{where}tool call {number} "
    function = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(call, dict) or not isinstance(function, dict):
        raise RowError(problems.WRONG_TYPE, f"{where}is {kind(function)}; expected {{function: {{name, arguments}}}}")
    if call.get("type") not in (None, "function"):
        raise RowError(problems.WRONG_TYPE, f"{where}is of type {call['type']!r}; expected a function")
    _check_name(function, where)
    read: dict[str, Any] = {"type": "function"}
    if call.get("id") is not None:
        read["id"] = str(call["id"])
    read["function"] = {"name": function["name"], "arguments": _arguments(function.get("arguments"), where)}
    return read


def _arguments(value: object, where: str) -> str:
    """As canonical JSON text of an object."""
    if value is None or value == "":
        return "{}"
    arguments = _parse(value, where) if isinstance(value, str) else _without_nulls(value)
    if not isinstance(arguments, dict):
        raise RowError(problems.WRONG_TYPE, f"{where}has {kind(arguments)} as arguments; expected an object")
    return _json(arguments)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RowError(problems.BROKEN_JSON, f"{where}is broken JSON: {error}") from error


def _check_name(function: Mapping[str, Any], where: str) -> None:
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise RowError(problems.WRONG_TYPE, f"{where}has no name; expected the name of a function")


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
