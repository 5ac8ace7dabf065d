"""From a request to the chunks that answer it. Knows the wire, but not Triton.

A request is one JSON object with `messages` and, if wanted, `tools, max_new_tokens, temperature, top_p, seed`. A chunk
is one JSON object with the fields of `Chunk` and `tool_calls`: all of them on the last chunk, else none.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .generation import ChatModel, RequestError, TextStream
from .tool_calls import CallReader, CallStream, sent
from .tool_use import ToolUse

_OPTIONS = ("max_new_tokens", "temperature", "top_p", "seed")


@dataclass(frozen=True)
class Answerer:
    """A model, and what its version folder says beside the weights."""

    model: ChatModel
    tool_use: ToolUse
    max_new_tokens: int
    """Length of an answer when a request does not say."""
    system_prompt: str = ""
    """Put before a conversation that has no system message, as in training; empty: nothing is."""

    def answer(self, payload: bytes) -> Iterator[dict[str, Any]]:
        """The chunks; nothing is read or checked before the first one is asked for.

        Raises:
            RequestError: the request cannot be answered as it is.
        """
        document = _read(payload)
        tools = self.tool_use.tools(document.get("tools"))
        options = {name: document[name] for name in _OPTIONS if document.get(name) is not None}
        messages = self.tool_use.messages(_with_system(document.get("messages"), self.system_prompt))
        chunks = self.model.stream(messages, **{"max_new_tokens": self.max_new_tokens, **options}, tools=tools)
        if tools is None or self.tool_use.calls is None:
            for chunk in chunks:
                yield sent(chunk, chunk.text)
            return
        tokenizer = self.model.tokenizer
        stop_texts = tokenizer.convert_ids_to_tokens(sorted(self.model.stop_ids))
        reader = CallReader(self.tool_use.calls, {tool["function"]["name"] for tool in tools}, stop_texts)
        stream = CallStream(reader, TextStream(tokenizer, skip_special_tokens=False))
        for chunk in chunks:
            yield stream.push(chunk)


def _read(payload: bytes) -> dict[str, Any]:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"REQUEST is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RequestError("REQUEST must be a JSON object")
    return document


def _with_system(messages: Any, system_prompt: str) -> Any:
    """The conversation as the model saw it in training; what is not one is left to be refused."""
    if not system_prompt or not isinstance(messages, list) or not messages:
        return messages
    first = messages[0]
    if isinstance(first, dict) and first.get("role") == "system":
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]
