"""Chats of the SDK: what is sent, what comes back. Messages and tools are in OpenAI's form. Nothing here does I/O.

A key of a message that cannot be sent is refused, never dropped in silence.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.client.calls import Call
from luthier.client.types import ChatAnswer, ChatChunk
from luthier.errors import InternalError, InvalidRequestError
from luthier.v1 import inference_service_pb2

Prompt = str | Sequence[Mapping[str, Any]]
"""A question, or a conversation: `[{"role": "user", "content": "..."}]`. A message of the assistant may have
`tool_calls`, one of a tool has `tool_call_id`."""

Tools = Sequence[Mapping[str, Any]]
"""`[{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}]`"""

_TEXTS = ("role", "content", "tool_call_id", "name")


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when to stop."""

    max_new_tokens: int
    """0: the deployment's own limit."""
    temperature: float
    """0: greedy."""
    top_p: float
    seed: int | None
    """None: random."""


def chat(deployment: str, prompt: Prompt, sampling: Sampling, tools: Tools, tool_choice: str) -> Call:
    """One question to a deployment; the answer is a stream.

    Raises:
        InvalidRequestError: messages or tools cannot be sent as they are; the message names the place.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(tool_choice, str):
        raise InvalidRequestError(f"tool_choice must be 'auto' or 'none', not {tool_choice!r}")
    request = inference_service_pb2.ChatRequest(
        deployment_id=deployment,
        messages=[_message(number, message) for number, message in enumerate(messages)],
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        tools_json=_json(tools) if tools else "",
        tool_choice=tool_choice,
    )
    return Call("InferenceService/Chat", request, inference_service_pb2.ChatResponse)


def answer_of(chunks: Iterable[ChatChunk]) -> ChatAnswer:
    """The whole answer.

    Raises:
        InternalError: the stream ended without saying that the answer is complete.
    """
    texts, last = [], None
    for last in chunks:
        texts.append(last.text)
    if last is None or last.finish_reason is None:
        raise InternalError("the answer was cut off; ask again")
    counts = (last.num_prompt_tokens, last.num_completion_tokens)
    return ChatAnswer("".join(texts), last.finish_reason, *counts, last.tool_calls)


def _message(number: int, message: Mapping[str, Any]) -> inference_service_pb2.ChatMessage:
    where = f"messages[{number}]"
    if not isinstance(message, Mapping):
        raise InvalidRequestError(f"{where} must be an object with role and content")
    given = {key: value for key, value in message.items() if value is not None}
    if unknown := sorted(map(repr, given.keys() - {*_TEXTS, "tool_calls"})):
        raise InvalidRequestError(f"{where} has {', '.join(unknown)}, which cannot be sent; leave it out")
    calls = given.pop("tool_calls", [])
    if not isinstance(calls, list | tuple):
        raise InvalidRequestError(f"{where}.tool_calls must be a list")
    for key, value in given.items():
        if not isinstance(value, str):
            raise InvalidRequestError(f"{where}.{key} must be text, not {value!r}")
    read = [_call(f"{where}.tool_calls[{place}]", call) for place, call in enumerate(calls)]
    return inference_service_pb2.ChatMessage(**given, tool_calls=read)


def _call(where: str, call: Any) -> inference_service_pb2.ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequestError(f'{where} must be {{"id", "type", "function": {{"name", "arguments"}}}}')
    if call.get("type", "function") != "function":
        raise InvalidRequestError(f"{where}.type must be 'function', not {call['type']!r}")
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        raise InvalidRequestError(f"{where}.function.arguments must be JSON text, as the model wrote it")
    return inference_service_pb2.ToolCall(id=str(call.get("id") or ""), name=function["name"], arguments_json=arguments)


def _json(tools: Tools) -> str:
    try:
        return json.dumps(tools, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"tools cannot be written as JSON: {error}") from error
