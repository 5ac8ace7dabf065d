"""The worker's side of Triton: load, unload, and one question over the stream. Blocking, one model at a time."""

import logging
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

from luthier.inference_wire import CHUNK_TENSOR, REQUEST_TENSOR, InferenceChunk, InferenceRequest, refusal_of
from luthier.telemetry import TRACEPARENT, current_traceparent
from luthier.v1.failure_pb2 import FailureClass
from workers.failures import ConfigError, DependencyError, StageError

_log = logging.getLogger(__name__)

_SHORT_SECONDS = 5.0
_UNLOAD_SECONDS = 30.0
_NO_ANSWER = ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED")
_TOO_LATE = "StatusCode.DEADLINE_EXCEEDED"


@dataclass(frozen=True)
class Answer:
    """What came back, and how fast."""

    text: str
    num_completion_tokens: int
    first_token_seconds: float
    seconds: float


class Triton:
    """A Triton server at `url` (`host:port` of its gRPC). Use it as a context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = InferenceServerClient(url)

    def __enter__(self) -> "Triton":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def check_live(self) -> None:
        """Returns when the server answers.

        Raises:
            DependencyError: it does not.
        """
        with self._errors("look whether it is up", _SHORT_SECONDS):
            self._client.is_server_live(client_timeout=_SHORT_SECONDS)

    def load(self, model: str, timeout_seconds: float) -> None:
        """Loads `model` from the repository, in place of what is loaded, and returns once it takes requests.

        Raises:
            DependencyError: the server does not answer, or not in time.
            StageError: the server cannot load it; the message is the server's.
        """
        with self._errors(f"load {model}", timeout_seconds):
            self._client.load_model(model, client_timeout=timeout_seconds)
            if not self._client.is_model_ready(model, client_timeout=_SHORT_SECONDS):
                raise StageError(
                    FailureClass.FAILURE_CLASS_INTERNAL, f"Triton at {self.url} loaded {model}, yet it is not ready"
                )

    def discard(self, model: str) -> None:
        """Unloads `model` if it can; a server that is down has nothing loaded."""
        try:
            self._client.unload_model(model, client_timeout=_UNLOAD_SECONDS)
        except InferenceServerException as error:
            _log.warning("Triton at %s did not unload %s: %s", self.url, model, error)

    def ask(self, model: str, request: InferenceRequest, timeout_seconds: float) -> Answer:
        """Sends `request` and reads the whole answer.

        Raises:
            DependencyError: the server does not answer, or not in time.
            ConfigError: the model refuses the request.
            StageError: the model failed.
        """
        arrived: queue.SimpleQueue[tuple[InferResult | None, InferenceServerException | None]] = queue.SimpleQueue()
        tensor = InferInput(REQUEST_TENSOR, [1], "BYTES")
        tensor.set_data_from_numpy(np.array([request.encode()], dtype=object))
        started = time.monotonic()
        with self._errors(f"answer through {model}", timeout_seconds):
            self._client.start_stream(
                lambda result, error: arrived.put((result, error)),
                stream_timeout=timeout_seconds,
                headers={TRACEPARENT: current_traceparent()},
            )
            try:
                self._client.async_stream_infer(model, [tensor], enable_empty_final_response=True)
                return _read_answer(arrived, started, timeout_seconds)
            except InferenceServerException as error:
                if (refusal := refusal_of(error.message())) is not None:
                    raise ConfigError(f"{model} refuses the request: {refusal}") from error
                raise
            finally:
                self._client.stop_stream(cancel_requests=True)

    @contextmanager
    def _errors(self, what: str, timeout_seconds: float) -> Iterator[None]:
        """Turns the client's exceptions into those of a stage. `what` completes "Triton could not ..."."""
        try:
            yield
        except InferenceServerException as error:
            if error.status() in _NO_ANSWER:
                raise DependencyError(f"Triton at {self.url} does not answer; start it, or check its log") from error
            if error.status() == _TOO_LATE:
                raise DependencyError(
                    f"Triton at {self.url} did not {what} within {timeout_seconds:.0f} s; raise deploy.timeout_seconds"
                ) from error
            message = f"Triton at {self.url} could not {what}: {error.message()}"
            raise StageError(FailureClass.FAILURE_CLASS_INTERNAL, message) from error


def _read_answer(
    arrived: "queue.SimpleQueue[tuple[InferResult | None, InferenceServerException | None]]",
    started: float,
    timeout_seconds: float,
) -> Answer:
    text, first_token_seconds, num_completion_tokens = "", 0.0, 0
    while True:
        try:
            result, error = arrived.get(timeout=max(0.0, started + timeout_seconds - time.monotonic()))
        except queue.Empty as late:
            raise InferenceServerException("no answer", _TOO_LATE) from late
        if error is not None or result is None:
            raise error or InferenceServerException("the stream ended early")
        if result.get_response().parameters["triton_final_response"].bool_param:
            return Answer(text, num_completion_tokens, first_token_seconds, time.monotonic() - started)
        chunk = InferenceChunk.decode(result.as_numpy(CHUNK_TENSOR)[0])
        if num_completion_tokens == 0 and chunk.num_completion_tokens:
            first_token_seconds = time.monotonic() - started
        num_completion_tokens = chunk.num_completion_tokens
        text += chunk.text
