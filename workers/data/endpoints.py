"""One endpoint that takes JSON by POST and answers in JSON, as OpenAI's do.

It follows no redirect and sends its key nowhere else. An endpoint that is busy, broken or silent is asked again, with
growing pauses or the one that it asks for; one that refuses is not.
"""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2
from pydantic import SecretStr
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from workers.failures import ConfigError, DependencyError

T = TypeVar("T")

_BUSY = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_MAX_REPLY_BYTES = 1 << 22
_MAX_PAUSE_SECONDS = 30.0
_MAX_QUOTE = 300
_MAX_SILENCES = 5
"""Of `timeout_seconds` each, that one answer may take in all."""


class _BusyError(Exception):
    """The endpoint may answer later."""

    def __init__(self, message: str, pause_seconds: float | None = None) -> None:
        super().__init__(message)
        self.pause_seconds = pause_seconds


class Endpoint:
    """Safe to use from several threads."""

    def __init__(
        self,
        name: str,
        url: str,
        key: SecretStr,
        *,
        timeout_seconds: float = 60.0,
        max_tries: int = 5,
        first_pause_seconds: float = 1.0,
    ) -> None:
        """
        Args:
            name: what messages call it: where its URL and key are set.
            url: base, such as `https://api.example.com/v1`.
            key: sent as bearer token; may be empty.
            timeout_seconds: longest silence during one request.
            max_tries: of one request.
            first_pause_seconds: at most, before it is asked again for the first time.
        """
        self._name = name
        self._url = url.rstrip("/")
        self._key = key
        self._timeout_seconds = timeout_seconds
        self._max_tries = max_tries
        self._backoff = wait_random_exponential(multiplier=first_pause_seconds, max=_MAX_PAUSE_SECONDS)
        timeout = httpx2.Timeout(timeout_seconds)
        self._client = httpx2.Client(timeout=timeout, follow_redirects=False, trust_env=False)

    def post(self, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        """What `read` makes of the answer to `body`; it raises ValueError, LookupError or TypeError for a wrong answer.

        Raises:
            ConfigError: the endpoint refuses.
            DependencyError: it does not answer as it should, however often it is asked.
        """
        retrying = Retrying(
            retry=retry_if_exception_type((_BusyError, httpx2.TransportError)),
            stop=stop_after_attempt(self._max_tries),
            wait=self._pause,
            reraise=True,
        )
        try:
            answer: T = retrying(self._try, path, body, read)
            return answer
        except (_BusyError, httpx2.TransportError) as error:
            raise DependencyError(
                f"{self._name} {self._url} does not answer after {self._max_tries} tries: "
                f"{error or type(error).__name__}"
            ) from error

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, _BusyError) and error.pause_seconds is not None:
            return error.pause_seconds
        return self._backoff(state)

    def _try(self, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        key = self._key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with self._client.stream("POST", f"{self._url}/{path}", json=body, headers=headers) as response:
            raw = self._read(response)
        status = response.status_code
        if status in _BUSY:
            raise _BusyError(f"it answered {status}: {self._quote(raw)}", _seconds(response.headers.get("Retry-After")))
        if status != 200:
            raise ConfigError(f"{self._name} {self._url}/{path} answered {status}: {self._quote(raw)}")
        try:
            return read(json.loads(raw))
        except (ValueError, RecursionError, LookupError, TypeError) as error:
            # A proxy may have been faster than the endpoint.
            raise _BusyError(f"it answered something else than expected: {self._quote(raw)}") from error

    def _read(self, response: httpx2.Response) -> bytes:
        deadline = time.monotonic() + _MAX_SILENCES * self._timeout_seconds
        raw = b""
        for block in response.iter_bytes():
            raw += block
            if len(raw) > _MAX_REPLY_BYTES:
                raise ConfigError(
                    f"{self._name} {self._url} sent more than {_MAX_REPLY_BYTES >> 20} MiB for one answer"
                )
            if time.monotonic() > deadline:
                raise _BusyError("its answer comes too slowly")
        return raw

    def _quote(self, raw: bytes) -> str:
        """The beginning of an answer, without the key, which some endpoints repeat."""
        text, key = " ".join(raw.decode("utf-8", "replace").split()), self._key.get_secret_value()
        return (text.replace(key, "***") if key else text)[:_MAX_QUOTE]


def _seconds(retry_after: str | None) -> float | None:
    """What the header asks for, if that is a number and no more than we would wait by ourselves."""
    try:
        return min(_MAX_PAUSE_SECONDS, max(0.0, float(retry_after or "")))
    except ValueError:
        return None
