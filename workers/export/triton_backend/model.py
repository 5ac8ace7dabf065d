"""Triton's Python backend for one chat model: JSON requests in, a stream of JSON chunks out.

Input `REQUEST` and output `CHUNK`: see `answering.py`. Decoupled: `execute` returns at once, and one thread advances
all open answers in turn by a token each, so a short answer does not wait for a long one. An answer stops when its
client is gone. Copied with the modules beside it into every Triton model.
"""

import json
import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton_python_backend_utils as triton

from .answering import Answerer
from .generation import ChatModel, RequestError
from .tool_use import ToolUse

_log = logging.getLogger(__name__)
_REFUSAL = "invalid request: "  # the one kind of error that the caller can mend; streams carry no status codes


class TritonPythonModel:
    """What Triton drives: `initialize`, `execute` for each batch of requests, `finalize`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the weights and answers once, so that the first caller meets a warm model."""
        parameters = json.loads(args["model_config"])["parameters"]
        max_new_tokens = int(parameters["max_new_tokens"]["string_value"])
        on_gpu = args["model_instance_kind"] == "GPU" and torch.cuda.is_available()
        device = f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu"
        version = Path(args["model_repository"]) / args["model_version"]
        model = ChatModel(version / "weights", device)
        prompt = version / "system_prompt.txt"
        system_prompt = prompt.read_text(encoding="utf-8") if prompt.is_file() else ""
        self._answerer = Answerer(model, ToolUse.read(version / "tools.json"), max_new_tokens, system_prompt)
        for _ in model.stream([{"role": "user", "content": "Hello"}], max_new_tokens=2):
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
                    open_answers.append(_Answer(self._answerer, request))
            if open_answers:
                answer = open_answers.popleft()
                if answer.advance():
                    open_answers.append(answer)


class _Answer:
    """One open request and where its responses go."""

    def __init__(self, answerer: Answerer, request: Any) -> None:
        self._sender = request.get_response_sender()
        self._chunks = _chunks(answerer, request)

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
        payload = np.array([json.dumps(chunk).encode()], dtype=object)
        self._sender.send(triton.InferenceResponse(output_tensors=[triton.Tensor("CHUNK", payload)]))
        return True

    def _end(self) -> bool:
        self._sender.send(flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return False

    def _fail(self, message: str, code: int) -> bool:
        response = triton.InferenceResponse(output_tensors=[], error=triton.TritonError(message, code))
        self._sender.send(response, flags=triton.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return False


def _chunks(answerer: Answerer, request: Any) -> Iterator[dict[str, Any]]:
    """The chunks that answer `request`; nothing of it is read before the first one is asked for."""
    yield from answerer.answer(triton.get_input_tensor_by_name(request, "REQUEST").as_numpy()[0])
