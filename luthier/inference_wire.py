"""What passes between the platform and a chat model in Triton: one JSON object in one string tensor, either way.

Knows nothing of the Triton client, so that whoever talks to Triton brings the client that fits. The other end of the
wire is `workers/export/triton_backend/model.py`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

REQUEST_TENSOR = "REQUEST"
"""Input, string tensor of shape `[1]`."""
CHUNK_TENSOR = "CHUNK"
"""Output of every response, string tensor of shape `[1]`."""


_REFUSAL = "invalid request: "


def refusal_of(error_message: str) -> str | None:
    """Why the model refuses the request, if that is what an error of a stream says; None when the model failed.

    A stream's error is a bare message. Triton can send status codes instead (`triton_grpc_error`), but release 24.10
    then handles the end of the stream twice, and crashes.
    """
    return error_message.removeprefix(_REFUSAL) if error_message.startswith(_REFUSAL) else None


@dataclass(frozen=True)
class InferenceRequest:
    """One question. What is None is left to the model's own default."""

    messages: Sequence[Mapping[str, Any]]
    """`[{"role": ..., "content": ...}, ...]`; an assistant's may have `tool_calls`, with arguments as JSON text."""
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    tools: Any = None
    """`[{"type": "function", "function": {...}}, ...]`; checked by the model."""

    @property
    def needs_tools(self) -> bool:
        """Whether only a model that knows tools can answer."""
        return bool(self.tools) or any("tool_calls" in message for message in self.messages)

    def encode(self) -> bytes:
        """The JSON object of `REQUEST_TENSOR`."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}).encode()


@dataclass(frozen=True)
class InferenceCall:
    """A call of a tool."""

    id: str
    name: str
    arguments: str
    """A JSON object as text."""


@dataclass(frozen=True)
class InferenceChunk:
    """One step of the answer."""

    text: str
    """Text since the last chunk; may be empty."""
    finish_reason: str
    """`stop`, `length` or `tool_calls` on the last chunk, else empty."""
    num_prompt_tokens: int
    num_completion_tokens: int
    """So far."""
    tool_calls: tuple[InferenceCall, ...] | None
    """All calls on the last chunk, else none; None: the model was exported before chats had tools."""

    @classmethod
    def decode(cls, payload: bytes) -> "InferenceChunk":
        """From the JSON object of `CHUNK_TENSOR`.

        Raises:
            ValueError: it is not a chunk.
        """
        document: dict[str, Any] = json.loads(payload)
        try:
            calls = document.get("tool_calls")
            return cls(
                text=document["text"],
                finish_reason=document["finish_reason"],
                num_prompt_tokens=document["num_prompt_tokens"],
                num_completion_tokens=document["num_completion_tokens"],
                tool_calls=None if calls is None else tuple(InferenceCall(**call) for call in calls),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"Triton sent something else than a chunk: {payload[:200]!r}") from error
