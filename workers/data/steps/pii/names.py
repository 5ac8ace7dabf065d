"""Names of people, as a token classifier of transformers marks them.

A text that is longer than the model can read is looked at in windows that overlap.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForTokenClassification, TokenClassificationPipeline

from workers.data.steps.classifiers import load_classifier
from workers.data.steps.pii.spans import Span
from workers.failures import ConfigError

_KEY = "data.pii.names_model"
_PEOPLE = frozenset({"PER", "PERSON"})
_BATCH_TEXTS = 16
_OVERLAP_TOKENS = 32


class Names:
    """Finds names by a model."""

    def __init__(self, folder: str) -> None:
        """
        Raises:
            ConfigError: the folder holds no harmless token classifier that marks people.
        """
        classifier = load_classifier(Path(folder), _KEY, AutoModelForTokenClassification)
        # Labels are B-PER, I-PER, or PER.
        marks = {label.rpartition("-")[2].upper() for label in classifier.labels}
        if not marks & _PEOPLE:
            raise ConfigError(
                f"{_KEY} {folder!r} marks {', '.join(sorted(marks))}, but no PER or PERSON; give a model that does"
            )
        classifier.tokenizer.model_max_length = classifier.max_length
        self._mark: Any = TokenClassificationPipeline(  # type: ignore[no-untyped-call]
            model=classifier.model,
            tokenizer=classifier.tokenizer,
            aggregation_strategy="first",
            stride=min(_OVERLAP_TOKENS, classifier.max_length // 4),
        )

    def find(self, texts: Sequence[str]) -> list[list[Span]]:
        """The names in each text."""
        asked = [index for index, text in enumerate(texts) if any(map(str.isalpha, text))]
        marked = self._mark([texts[index] for index in asked], batch_size=_BATCH_TEXTS) if asked else []
        found: list[list[Span]] = [[] for _ in texts]
        for index, groups in zip(asked, marked, strict=True):
            people = (group for group in groups if group["entity_group"].upper() in _PEOPLE)
            found[index] = [Span(group["start"], group["end"], "name") for group in people]
        return found
