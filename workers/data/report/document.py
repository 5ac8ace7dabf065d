"""`report.json`, `report.html`, `report.md` and `lengths.svg` of a dataset artifact: what was read, what became of it.

The numbers add up: `num_rows_read` + `num_augmented` + `num_added_windows` + `num_repeats` = the rows of the three
splits + the rows of `dropped`, and for each source by itself.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from luthier.spec.data.location import without_queries
from workers.data.outcome import Outcome
from workers.data.report.histogram import length_histogram
from workers.data.report.page import html_page
from workers.data.report.summary import page
from workers.data.splits.splitting import uneven_splits
from workers.data.statistics import Sample
from workers.failures import DataError

_VERSION = 1
_NUM_TOLD = 10


def write_report(outcome: Outcome, spec: DataSpec, tokenizer: PreTrainedTokenizerBase, folder: Path) -> dict[str, Any]:
    """Writes the files into `folder` and returns what report.json says."""
    document = _document(outcome, spec, tokenizer)
    (folder / "report.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(page(document), encoding="utf-8")
    (folder / "report.html").write_text(html_page(document), encoding="utf-8")
    lengths: dict[str, npt.NDArray[np.int32]] = {name: split.lengths for name, split in outcome.splits.items()}
    length_histogram(lengths, spec.max_length, folder / "lengths.svg")
    return document


def load_report(folder: Path) -> dict[str, Any]:
    """What report.json of a dataset artifact says.

    Raises:
        DataError: there is none, or it is not one of ours.
    """
    path = folder / "report.json"
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path} is not the report of a dataset: {error}") from error
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        raise DataError(f"{path} is not the report of a dataset of version {_VERSION}")
    return document


def segments(tokenizer: PreTrainedTokenizerBase, sample: Sample) -> list[dict[str, Any]]:
    """The sample's text as the model reads it, cut where what is trained on begins and ends: `text`, `trained`."""
    found: list[dict[str, Any]] = []
    start = 0
    for end in range(1, len(sample.input_ids) + 1):
        if end == len(sample.input_ids) or sample.trainable[end] != sample.trainable[start]:
            text = tokenizer.decode(sample.input_ids[start:end], skip_special_tokens=False)
            found.append({"text": str(text), "trained": bool(sample.trainable[start])})
            start = end
    return found


def _document(outcome: Outcome, spec: DataSpec, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    template = str(tokenizer.chat_template or "")
    return {
        "version": _VERSION,
        "dataset_version": outcome.version,
        "trained_on": _trained_on(outcome),
        "sources": [
            {
                "split": file.split,
                "source": file.name,
                "path": file.uri,
                "sha256": file.sha256,
                "num_bytes": file.num_bytes,
                "file_type": file.file_type,
                "format": file.shape,
                "columns": list(file.columns),
                "num_rows": num_rows,
            }
            for file, num_rows in zip(outcome.files, outcome.rows_per_file, strict=True)
        ],
        "data": without_queries(spec.model_dump(mode="json")),
        "tokenizer": {
            "vocabulary": len(tokenizer),
            "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
        },
        "num_rows_read": outcome.num_rows,
        "num_dropped": outcome.ledger.counts.total(),
        "num_truncated": outcome.sum(lambda tally: tally.num_truncated),
        "num_augmented": outcome.sum(lambda tally: tally.num_augmented.total()),
        "num_added_windows": outcome.sum(lambda tally: tally.num_added_windows),
        "num_repeats": outcome.sum(lambda tally: tally.num_repeats),
        "dropped": outcome.ledger.document(),
        "repaired": outcome.repairs.document(),
        "augmentation": outcome.augmentation.document() if outcome.augmentation.num_wanted else None,
        "mixture": _mixture(outcome),
        "quality": _quality(outcome),
        "clusters": outcome.clusters,
        "splits": {name: statistics.document() for name, statistics in outcome.splits.items()},
        "samples": [
            {
                "source": sample.source,
                "row": sample.row,
                "part": sample.part,
                "segments": segments(tokenizer, sample),
            }
            for sample in outcome.splits["train"].samples
        ],
        "warnings": _warnings(outcome, spec),
    }


def _trained_on(outcome: Outcome) -> str:
    """What the loss counts: `tokens`; `labels`, each of a row that is read as a whole; or `answers` that do not exist
    yet."""
    if all(part.targets == "nothing" for part in outcome.parts):
        return "labels"
    return "tokens" if outcome.splits["train"].num_trainable_tokens else "answers"


def _quality(outcome: Outcome) -> dict[str, Any] | None:
    """Of all rows, and the score of each source by itself where there are several; None where nobody looked."""
    if outcome.quality is None:
        return None
    by_source = [
        {"name": part.name, **own.scored(), "num_read": own.num_read, "num_good": own.num_good}
        for part, own in zip(outcome.parts, outcome.quality_by_part, strict=False)
    ]
    return {**outcome.quality.document(), "sources": by_source}


def _mixture(outcome: Outcome) -> dict[str, Any] | None:
    """How much of each source there is; None where there is but one, without a name."""
    if not outcome.parts[0].name:
        return None
    return {"strategy": outcome.strategy, "sources": [tally.document() for tally in outcome.tallies]}


def _warnings(outcome: Outcome, spec: DataSpec) -> list[str]:
    warnings = sorted({warning for tally in outcome.tallies for warning in tally.warnings})
    if outcome.splits["validation"].num_rows == 0:
        warnings.append("the validation split is empty: no validation loss, no early stopping, no best checkpoint")
    if outcome.splits["test"].num_rows == 0:
        warnings.append("the test split is empty: nothing to evaluate the model on")
    if outcome.came_back:
        warnings.append(_came_back(outcome.came_back))
    if spec.split is not None and len(outcome.parts) == 1:
        num_rows = {name: split.num_rows for name, split in outcome.splits.items()}
        warnings += uneven_splits(outcome.parts[0].fractions, num_rows)
    if (missing := outcome.augmentation.num_wanted - outcome.augmentation.num_added) > 0:
        refused = outcome.augmentation.refused.summary()
        warnings.append(f"{missing} training rows fewer were made than data asks for; refused: {refused}")
    num_without = outcome.sum(lambda tally: tally.num_without_difficulty)
    if spec.curriculum is not None and num_without:
        warnings.append(
            f"{num_without} training rows have nothing in {spec.curriculum.difficulty_by}: they come last in an order "
            "by difficulty"
        )
    if num_truncated := outcome.sum(lambda tally: tally.num_truncated):
        warnings.append(
            f"{num_truncated} rows were cut at {spec.max_length} tokens: they teach answers that do not end"
        )
    if num_control_text := outcome.sum(lambda tally: tally.num_control_text):
        warnings.append(f"{num_control_text} rows spell control tokens of the model in their text; they count as such")
    return warnings


def _came_back(rows: Sequence[str]) -> str:
    listed = ", ".join(rows[:_NUM_TOLD])
    more = f" and {len(rows) - _NUM_TOLD} more" if len(rows) > _NUM_TOLD else ""
    return f"rows drawn for another split are trained on, because no other row there has their class: {listed}{more}"
