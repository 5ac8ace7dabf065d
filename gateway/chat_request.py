"""From a `ChatRequest` to what the model in Triton is asked, within bounds.

What a model accepts (roles, lengths, sampling, schemas of functions) is the model's own decision; here sizes are
bounded, and what no model could keep is refused. Tools stay as they were written: the order of keys is part of what the
model reads.
"""

import json
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.inference_wire import InferenceRequest
from luthier.v1.inference_service_pb2 import ChatMessage, ChatRequest

MAX_MESSAGES = 256
MAX_CONTENT_BYTES = 1 << 20
"""Of all messages of one request with their calls, and of the tools, as UTF-8."""


def to_inference(request: ChatRequest) -> InferenceRequest:
    """What the model is asked. In the proto 0 stands for a default; on the wire to the model that is left out.

    Raises:
        InvalidRequestError: too large, tools that are not JSON, or a choice of tools that cannot be kept.
    """
    _check_size(request)
    return InferenceRequest(
        messages=[_message(message) for message in request.messages],
        max_new_tokens=request.max_new_tokens or None,
        temperature=request.temperature,
        top_p=request.top_p or None,
        seed=request.seed if request.HasField("seed") else None,
        tools=_tools(request),
    )


def _check_size(request: ChatRequest) -> None:
    if len(request.messages) > MAX_MESSAGES:
        raise InvalidRequestError(f"{len(request.messages)} messages are too many; send at most {MAX_MESSAGES}")
    texts = [request.tools_json]
    for message in request.messages:
        texts += [message.content, message.name, message.tool_call_id]
        texts += [text for call in message.tool_calls for text in (call.id, call.name, call.arguments_json)]
    num_bytes = sum(len(text.encode()) for text in texts)
    if num_bytes > MAX_CONTENT_BYTES:
        raise InvalidRequestError(f"messages and tools have {num_bytes} bytes; send at most {MAX_CONTENT_BYTES}")


def _message(message: ChatMessage) -> dict[str, Any]:
    """As the model takes it; what is empty is left out, but for the content."""
    calls = [
        {
            **({"id": call.id} if call.id else {}),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments_json},
        }
        for call in message.tool_calls
    ]
    extras = {"tool_calls": calls, "tool_call_id": message.tool_call_id, "name": message.name}
    return {
        "role": message.role,
        "content": message.content,
        **{name: value for name, value in extras.items() if value},
    }


def _tools(request: ChatRequest) -> Any:
    """The tools that the model is told of, whatever JSON they are; None where there are none."""
    if request.tool_choice not in ("", "auto", "none"):
        raise InvalidRequestError(
            f"tool_choice {request.tool_choice!r} cannot be kept, because nothing forces a model to call a function; "
            f"give 'auto' or 'none'"
        )
    if not request.tools_json:
        return None
    try:
        tools = json.loads(request.tools_json)
        json.dumps(tools, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"tools_json is not JSON: {error}") from error
    return None if request.tool_choice == "none" else tools
