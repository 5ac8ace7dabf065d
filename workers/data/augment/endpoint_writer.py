"""A `Writer` behind an OpenAI-compatible endpoint: `POST {endpoint}/chat/completions`.

It is asked only if the worker's settings list it, follows no redirect, and sends the key of that endpoint to it alone.
An endpoint that is busy, broken or silent is asked again, with growing pauses or the ones that it asks for; one that
refuses is not.
"""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from luthier.spec.data.augment import WriterSpec
from workers.data.augment.writer import Reply, Request
from workers.failures import ConfigError, DependencyError

_MAX_REPLY_BYTES = 1 << 20
_MAX_PAUSE_SECONDS = 30.0
_MAX_SILENCES = 5
"""Of `timeout_seconds` each, that one answer may take in all."""
_MAX_QUOTE = 300
_BUSY = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_CHARACTERS_PER_TOKEN = 4
"""Where an endpoint does not say how many tokens it counted."""


class BusyError(Exception):
    """The endpoint may answer later."""

    def __init__(self, message: str, pause_seconds: float | None = None) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds


class EndpointWriter:
    """Asks several things at a time. Answers do not depend on each other."""

    answers_one_by_one = True

    def __init__(self, spec: WriterSpec, key: SecretStr, *, first_pause_seconds: float = 1.0) -> None:
        """`key` may be empty; the first pause before an endpoint is asked again is up to `first_pause_seconds`."""
        self._spec = spec
        self._key = key
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(spec.timeout_seconds), follow_redirects=False, trust_env=False
        )
        self._backoff = wait_random_exponential(multiplier=first_pause_seconds, max=_MAX_PAUSE_SECONDS)

    def write(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """See `Writer`."""
        pool = ThreadPoolExecutor(self._spec.concurrency)
        try:
            yield from pool.map(self._answer, requests)
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, request: Request) -> Reply:
        retrying = Retrying(
            retry=retry_if_exception_type((BusyError, httpx2.TransportError)),
            stop=stop_after_attempt(self._spec.max_tries),
            wait=self._pause,
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return retrying(self._try, request)
        except (BusyError, httpx2.TransportError) as error:
            raise DependencyError(
                f"data.augment.writer.endpoint {self._spec.endpoint} does not answer after {self._spec.max_tries} "
                f"tries: {error or type(error).__name__}; what it answered before is kept"
            ) from error

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, BusyError) and error.pause_seconds is not None:
            return error.pause_seconds
        return self._backoff(state)

    def _try(self, request: Request) -> Reply:
        body = {
            "model": self._spec.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": self._spec.temperature,
            "max_tokens": self._spec.max_new_tokens,
            "seed": request.seed,
        }
        key = self._key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{str(self._spec.endpoint).rstrip('/')}/chat/completions"
        with self._client.stream("POST", url, json=body, headers=headers) as response:
            raw = _read(response, time.monotonic() + _MAX_SILENCES * self._spec.timeout_seconds)
        if response.status_code in _BUSY:
            pause = _retry_after(response.headers.get("Retry-After"))
            raise BusyError(f"it answered {response.status_code}: {_quote(raw, key)}", pause)
        if response.status_code != 200:
            raise ConfigError(
                f"data.augment.writer.endpoint {self._spec.endpoint} answered {response.status_code}: "
                f"{_quote(raw, key)}; see the model's name, the endpoint, and LUTHIER_WRITER_KEYS of the worker"
            )
        return _reply(raw, request)


def _read(response: httpx2.Response, deadline: float) -> bytes:
    raw = b""
    for block in response.iter_bytes():
        raw += block
        if time.monotonic() > deadline:
            raise BusyError("its answer comes too slowly")
        if len(raw) > _MAX_REPLY_BYTES:
            raise ConfigError(
                f"data.augment.writer.endpoint sent more than {_MAX_REPLY_BYTES >> 10} KiB for one answer; it is not "
                "an OpenAI-compatible endpoint, or data.augment.writer.max_new_tokens means nothing to it"
            )
    return raw


def _reply(raw: bytes, request: Request) -> Reply:
    """
    Raises:
        BusyError: it is not what such endpoints answer; a proxy may have been faster than the endpoint.
    """
    try:
        document: Any = json.loads(raw)
        choice = document["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise BusyError(f"it answered something else than a chat completion: {_quote(raw, '')}") from error
    usage = document.get("usage")
    counted = usage.get("total_tokens") if isinstance(usage, dict) else None
    said = text if isinstance(text, str) else ""
    estimated = (len(request.prompt) + len(said)) // _CHARACTERS_PER_TOKEN + 1
    num_tokens = counted if isinstance(counted, int) and counted > 0 else estimated
    return Reply(said, num_tokens, is_whole=finish != "length")


def _retry_after(value: str | None) -> float | None:
    """Seconds, if the header gives a number of them; no more than we would wait by ourselves."""
    try:
        return min(_MAX_PAUSE_SECONDS, max(0.0, float(value or "")))
    except ValueError:
        return None


def _quote(raw: bytes, key: str) -> str:
    """The beginning of an answer, without the key, which some endpoints repeat."""
    text = " ".join(raw.decode("utf-8", "replace").split())[:_MAX_QUOTE]
    return text.replace(key, "***") if key else text
