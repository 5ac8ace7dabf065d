"""Texts judged by a text classifier of transformers: the highest probability of the labels that count.

A text that is longer than the model can read is judged in windows, by the worst of them.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

from luthier.spec.data.toxicity import ModelJudgeSpec
from workers.data.steps.classifiers import load_classifier
from workers.data.steps.toxicity.verdict import Verdict
from workers.failures import ConfigError

_KEY = "data.toxicity.classifier"
_BATCH_WINDOWS = 32


class ModelJudge:
    """A `Judge`."""

    def __init__(self, spec: ModelJudgeSpec) -> None:
        """
        Raises:
            ConfigError: the folder holds no harmless text classifier, or it has no such labels.
        """
        self._classifier = load_classifier(Path(spec.path), f"{_KEY}.path", AutoModelForSequenceClassification)
        labels = self._classifier.labels
        wanted = spec.labels or [label for label in labels if _sounds_toxic(label)]
        unknown = sorted(set(wanted) - set(labels))
        if unknown or not wanted:
            what = f"has no label {unknown[0]!r}" if unknown else "has no label with `toxic` in its name"
            raise ConfigError(f"{_KEY}.labels: the model {what}; name those of {', '.join(labels)} that count")
        self._counting = [labels.index(label) for label in wanted]
        kind = self._classifier.model.config.problem_type
        self._is_multi_label = kind == "multi_label_classification" or len(labels) == 1

    def __call__(self, texts: Sequence[str]) -> list[Verdict]:
        """See `Judge`."""
        verdicts = [Verdict(0.0, "")] * len(texts)
        if not texts:
            return verdicts
        windows = self._classifier.tokenizer(
            list(texts), truncation=True, max_length=self._classifier.max_length, return_overflowing_tokens=True
        )
        owners = windows.pop("overflow_to_sample_mapping")
        # Windows of about the same length go together, so that little is padded.
        order = sorted(range(len(owners)), key=lambda window: len(windows["input_ids"][window]))
        for start in range(0, len(order), _BATCH_WINDOWS):
            chosen = order[start : start + _BATCH_WINDOWS]
            for window, verdict in zip(
                chosen, self._judge({k: [v[w] for w in chosen] for k, v in windows.items()}), strict=True
            ):
                verdicts[owners[window]] = max(verdicts[owners[window]], verdict)
        return verdicts

    @torch.inference_mode()
    def _judge(self, windows: dict[str, list[list[int]]]) -> list[Verdict]:
        padded = self._classifier.tokenizer.pad(windows, return_tensors="pt")
        logits = self._classifier.model(**padded).logits.float()
        probabilities = logits.sigmoid() if self._is_multi_label else logits.softmax(-1)
        scores, places = probabilities[:, self._counting].max(-1)
        return [
            Verdict(score, self._classifier.labels[self._counting[place]])
            for score, place in zip(scores.tolist(), places.tolist(), strict=True)
        ]


def _sounds_toxic(label: str) -> bool:
    name = label.lower()
    return "toxic" in name and not name.startswith(("no", "un"))
