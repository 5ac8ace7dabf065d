"""A `Writer` behind an OpenAI-compatible endpoint: `POST {endpoint}/chat/completions`."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pydantic import SecretStr

from luthier.spec.data.augment import WriterSpec
from workers.data.augment.writer import Reply, Request
from workers.data.endpoints import Endpoint

_CHARACTERS_PER_TOKEN = 4
"""Where an endpoint does not say how many tokens it counted."""


class EndpointWriter:
    """Asks several things at a time. Answers do not depend on each other."""

    answers_one_by_one = True

    def __init__(self, spec: WriterSpec, key: SecretStr, *, first_pause_seconds: float = 1.0) -> None:
        """`key` may be empty; the first pause before an endpoint is asked again is up to `first_pause_seconds`."""
        assert spec.endpoint is not None, "without an endpoint the model runs here"
        self._spec = spec
        self._endpoint = Endpoint(
            "data.augment.writer.endpoint",
            spec.endpoint,
            key,
            timeout_seconds=spec.timeout_seconds,
            max_tries=spec.max_tries,
            first_pause_seconds=first_pause_seconds,
        )

    def write(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """See `Writer`."""
        pool = ThreadPoolExecutor(self._spec.concurrency)
        try:
            yield from pool.map(self._answer, requests)
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, request: Request) -> Reply:
        body = {
            "model": self._spec.model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": self._spec.temperature,
            "max_tokens": self._spec.max_new_tokens,
            "seed": request.seed,
        }
        return self._endpoint.post("chat/completions", body, partial(_reply, request))


def _reply(request: Request, document: Any) -> Reply:
    """
    Raises:
        LookupError, TypeError: it is no chat completion.
    """
    choice = document["choices"][0]
    content = choice["message"]["content"]
    if not isinstance(content, str | None):
        raise TypeError("the content of a message is text")
    text = content or ""
    usage = document.get("usage") or {}
    counted = usage.get("total_tokens") if isinstance(usage, dict) else None
    estimated = (len(request.prompt) + len(text)) // _CHARACTERS_PER_TOKEN + 1
    num_tokens = counted if isinstance(counted, int) and counted > 0 else estimated
    return Reply(text, num_tokens, is_whole=choice.get("finish_reason") != "length")
