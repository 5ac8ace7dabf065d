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

    messages: Sequence[Mapping[str, str]]
    """`[{"role": ..., "content": ...}, ...]`"""
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None

    def encode(self) -> bytes:
        """The JSON object of `REQUEST_TENSOR`."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None}).encode()


@dataclass(frozen=True)
class InferenceChunk:
    """One step of the answer."""

    text: str
    """Text since the last chunk; may be empty."""
    finish_reason: str
    """`stop` or `length` on the last chunk, else empty."""
    num_prompt_tokens: int
    num_completion_tokens: int
    """So far."""

    @classmethod
    def decode(cls, payload: bytes) -> "InferenceChunk":
        """From the JSON object of `CHUNK_TENSOR`.

        Raises:
            ValueError: it is not a chunk.
        """
        document: dict[str, Any] = json.loads(payload)
        try:
            return cls(**{name: document[name] for name in cls.__dataclass_fields__})
        except (KeyError, TypeError) as error:
            raise ValueError(f"Triton sent something else than a chunk: {payload[:200]!r}") from error
