"""Triton's Python backend for one chat model: JSON requests in, a stream of JSON chunks out.

Input `REQUEST`: one JSON object with `messages` and, if wanted, `tools, max_new_tokens, temperature, top_p, seed`.
Output `CHUNK`: one JSON object per response, the fields of `Chunk`. Decoupled: `execute` returns at once, and one
thread advances all open answers in turn by a token each, so a short answer does not wait for a long one. An answer
stops when its client is gone. Copied beside `generation.py` into every Triton model.
"""

import json
import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as triton

from .generation import ChatModel, Chunk, RequestError

_log = logging.getLogger(__name__)
_REFUSAL = "invalid request: "  # the one kind of error that the caller can mend; streams carry no status codes
_OPTIONS = ("max_new_tokens", "temperature", "top_p", "seed", "tools")


class TritonPythonModel:
    """What Triton drives: `initialize`, `execute` for each batch of requests, `finalize`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the weights and answers once, so that the first caller meets a warm model."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._max_new_tokens = int(parameters["max_new_tokens"]["string_value"])
        on_gpu = args["model_instance_kind"] == "GPU" and torch.cuda.is_available()
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        version = Path(args["model_repository"]) / args["model_version"]
        self._model = ChatModel(version / "weights", device)
        prompt = version / "system_prompt.txt"
        self._system_prompt = prompt.read_text(encoding="utf-8") if prompt.is_file() else ""
        for _ in self._model.stream([{"role": "user", "content": "Hello"}], max_new_tokens=2):
            pass
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="decode")
        self._thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Hands the requests to the decode thread."""
        for request in requests:
            self._arrived.put(request)

    def finalize(self) -> None:
        """Waits until every open answer is finished."""
        self._arrived.put(None)
        self._thread.join()

    def _serve(self) -> None:
        open_answers: deque[_Answer] = deque()
        stopping = False
        while open_answers or not stopping:
            while not self._arrived.empty() or not (open_answers or stopping):
                request = self._arrived.get()
                if request is None:
                    stopping = True
                else:
                    open_answers.append(_Answer(self._model, request, self._max_new_tokens, self._system_prompt))
            if open_answers:
                answer = open_answers.popleft()
                if answer.advance():
                    open_answers.append(answer)


class _Answer:
    """One open request and where its responses go."""

    def __init__(self, model: ChatModel, request: Any, max_new_tokens: int, system_prompt: str) -> None:
        self._sender = request.get_response_sender()
        self._chunks = _answer(model, request, max_new_tokens, system_prompt)

    def advance(self) -> bool:
        """Sends the next chunk, or the error that ends the answer. Whether there is more to come."""
        if self._sender.is_cancelled():
            return self._end()
        try:
            chunk = next(self._chunks)
        except StopIteration:
            return self._end()
        except RequestError as error:
            return self._fail(f"{_REFUSAL}{error}", triton.TritonError.INVALID_ARG)
        except Exception as error:  # the border: whatever it is, this caller is told and the others are served
            _log.exception("an answer failed")
            return self._fail(f"{type(error).__name__}: {error}", triton.TritonError.INTERNAL)
        payload = np.array([json.dumps(asdict(chunk)).encode()], dtype=object)
        self._sender.send(triton.InferenceResponse(output_tensors=[triton.Tensor("CHUNK", payload)]))
        return True

    def _end(self) -> bool:
        self._sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return False

    def _fail(self, message: str, code: int) -> bool:
        response = triton.InferenceResponse(output_tensors=[], error=triton.TritonError(message, code))
        self._sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return False


def _answer(model: ChatModel, request: Any, max_new_tokens: int, system_prompt: str) -> Iterator[Chunk]:
    """The chunks that answer `request`; nothing is read or checked before the first one is asked for."""
    tensor = triton.get_input_tensor_by_name(request, "REQUEST").as_numpy()
    try:
        document = json.loads(tensor[0])
    except ValueError as error:
        raise RequestError(f"REQUEST is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RequestError("REQUEST must be a JSON object")
    messages = _with_system(document.get("messages"), system_prompt)
    options = {name: document[name] for name in _OPTIONS if document.get(name) is not None}
    yield from model.stream(messages, **{"max_new_tokens": max_new_tokens, **options})


def _with_system(messages: Any, system_prompt: str) -> Any:
    """The conversation as the model saw it in training; what is not one is left to be refused."""
    if not system_prompt or not isinstance(messages, list) or not messages:
        return messages
    first = messages[0]
    if isinstance(first, dict) and first.get("role") == "system":
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]
