"""Texts judged by an OpenAI-compatible moderation endpoint: `POST {url}/moderations`.

Which one it is and its key say the worker's settings, so that no job file can send rows, or the key, elsewhere.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from luthier.settings import WorkerSettings
from luthier.spec.data.toxicity import EndpointJudgeSpec
from workers.data.endpoints import Endpoint
from workers.data.steps.toxicity.verdict import Verdict
from workers.failures import ConfigError

_NUM_TEXTS = 32
"""In one request."""
_CONCURRENCY = 4
_FIRST_PAUSE_SECONDS = 1.0


class EndpointJudge:
    """A `Judge`."""

    def __init__(self, spec: EndpointJudgeSpec) -> None:
        """
        Raises:
            ConfigError: the worker knows no endpoint.
        """
        settings = WorkerSettings()
        if not settings.moderation_url:
            raise ConfigError(
                "data.toxicity.classifier: this worker knows no moderation endpoint; set its LUTHIER_MODERATION_URL "
                "and LUTHIER_MODERATION_KEY, or take type: model or words"
            )
        self._endpoint = Endpoint(
            "LUTHIER_MODERATION_URL",
            settings.moderation_url,
            settings.moderation_key,
            first_pause_seconds=_FIRST_PAUSE_SECONDS,
        )
        self._model = spec.model
        self._categories = spec.categories

    def __call__(self, texts: Sequence[str]) -> list[Verdict]:
        """See `Judge`."""
        asked = [index for index, text in enumerate(texts) if text.strip()]
        verdicts = [Verdict(0.0, "")] * len(texts)
        parts = [asked[start : start + _NUM_TEXTS] for start in range(0, len(asked), _NUM_TEXTS)]
        pool = ThreadPoolExecutor(_CONCURRENCY)
        try:
            for part, found in zip(
                parts, pool.map(lambda part: self._ask([texts[i] for i in part]), parts), strict=True
            ):
                for index, verdict in zip(part, found, strict=True):
                    verdicts[index] = verdict
        finally:
            pool.shutdown(cancel_futures=True)
        return verdicts

    def _ask(self, texts: list[str]) -> list[Verdict]:
        body = {"input": texts} | ({"model": self._model} if self._model is not None else {})

        def read(document: Any) -> list[Verdict]:
            results = document["results"]
            if len(results) != len(texts):
                raise ValueError("another number of results than of texts")
            return [self._verdict(result) for result in results]

        return self._endpoint.post("moderations", body, read)

    def _verdict(self, result: Any) -> Verdict:
        scores = {name: float(score) for name, score in result["category_scores"].items()}
        unknown = sorted(set(self._categories or ()) - scores.keys())
        if unknown:
            raise ConfigError(
                f"data.toxicity.classifier.categories: the endpoint has no {unknown[0]!r}; name some of "
                f"{', '.join(sorted(scores))}"
            )
        counting = self._categories or list(scores)
        return max(Verdict(scores[name], name) for name in counting)
