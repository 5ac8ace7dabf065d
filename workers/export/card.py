"""The model card: README.md with YAML front matter, as model hubs read it.

Everything in it comes from the job file and from what earlier stages recorded; nothing is made up.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.spec import JobSpec, MergeSpec
from workers.evaluation.compare import Comparison
from workers.evaluation.report import comparison_table
from workers.export.usage import usage
from workers.models.catalogue import CATALOGUE
from workers.models.hub import HUB_ID
from workers.models.wheel import SOURCE_FILE


@dataclass(frozen=True)
class BaseModel:
    """What is known of the base model."""

    name: str
    """As others find it: a hub id, or the name of the directory."""
    licence: str
    """SPDX identifier; empty when not known."""
    source: str
    """Where its weights came from when that was not the place that `name` says; else empty."""

    @classmethod
    def of(cls, base_model: str, folder: Path) -> "BaseModel":
        """From the job file's `base_model` and the folder that it resolved to."""
        entry = CATALOGUE.get(base_model)
        name = entry.hub_id if entry else Path(base_model).name if base_model.startswith("/") else base_model
        source_file = folder / SOURCE_FILE
        source = ""
        if entry and source_file.is_file():
            wheel = json.loads(source_file.read_text())
            source = f"unpacked from the quantised file `{wheel['member']}` of the wheel `{wheel['requirement']}`"
        return cls(name, entry.licence if entry else "", source)


def write_card(
    path: Path,
    spec: JobSpec,
    base: BaseModel,
    triton_model: str,
    results: Mapping[str, Mapping[str, Any]],
    parity: str,
) -> None:
    """Writes the card.

    Args:
        path: README.md of the export.
        spec: of the job.
        base: the model that was tuned.
        triton_model: name inside `triton/`; empty without that format.
        results: typed results of the stages `preprocess`, `teach` if there was one, `train` or `merge`, and
            `evaluate`.
        parity: what the proof found, for people.
    """
    sections = [
        _front_matter(spec, base),
        f"# {spec.name}",
        _summary(spec, base, results),
        _base(base),
        *_making(spec, results),
        "## Evaluation\n\n" + _evaluation(results["evaluate"]),
        "## Parity\n\n" + parity,
        "## Use\n\n" + usage(spec, base.name, triton_model),
    ]
    path.write_text("\n\n".join(section for section in sections if section) + "\n", encoding="utf-8")


def _summary(spec: JobSpec, base: BaseModel, results: Mapping[str, Mapping[str, Any]]) -> str:
    if spec.merge is not None:
        return f"`{base.name}`, changed by {len(spec.merge.adapters)} adapters ({spec.merge.title})."
    taught = results.get("teach")
    num_rows = taught["splits"]["train"]["num_rows"] if taught else results["preprocess"]["num_rows"]["train"]
    answered = " that its teacher answered" if taught else ""
    return f"`{base.name}`, fine-tuned on {_number(num_rows)} examples{answered} ({spec.method.title})."


def _making(spec: JobSpec, results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How the tuned model came about."""
    if spec.merge is not None:
        return ["## Merging\n\n" + _merging(spec.merge, results["merge"])]
    return [
        "## Data\n\n" + _data(spec, results["preprocess"], results.get("teach")),
        "## Training\n\n" + _training(spec, results["train"]),
    ]


def _front_matter(spec: JobSpec, base: BaseModel) -> str:
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if spec.objective.has_head else "text-generation",
        "tags": [(spec.merge or spec.method).title.lower().replace(" ", "-"), "luthier"],
    }
    if HUB_ID.fullmatch(base.name):
        fields |= {"base_model": base.name.partition("@")[0], "base_model_relation": "finetune"}
    if base.licence:
        fields["license"] = base.licence.lower()
    # JSON values are YAML values.
    return "---\n" + "\n".join(f"{key}: {json.dumps(value)}" for key, value in sorted(fields.items())) + "\n---"


def _base(base: BaseModel) -> str:
    licence = f"Licence of the base model: {base.licence}." if base.licence else "Licence: that of the base model."
    source = f" The base weights were {base.source}." if base.source else ""
    return licence + source


def _data(spec: JobSpec, result: Mapping[str, Any], taught: Mapping[str, Any] | None) -> str:
    rows = [(f"rows for {name}", _number(count)) for name, count in result["num_rows"].items()]
    dropped = sum(result.get("num_dropped", {}).values())
    rows.append(("rows dropped", _number(dropped)))
    if version := result.get("dataset_version"):
        rows.append(("version of the dataset", _cell(version)))
    lessons = result
    if taught is not None:
        lessons = taught["splits"]["train"]
        rows.append(("teacher's answers asked for, for train", _number(lessons["num_asked"])))
        rows.append(("teacher's answers kept, for train", _number(lessons["num_rows"])))
    if "num_labelled_rows" in lessons:
        rows.append(("labelled rows trained on, per epoch", _number(lessons["num_labelled_rows"])))
        rows.append(("tokens attended to, per epoch", _number(lessons["num_attended_tokens"])))
    else:
        rows.append(("tokens trained on, per epoch", _number(lessons["num_trainable_tokens"])))
    rows.append(("longest allowed example, tokens", _number(spec.data.max_length)))
    if spec.data.system_prompt:
        rows.append(("system prompt", _cell(spec.data.system_prompt)))
    return _table(rows)


def _training(spec: JobSpec, result: Mapping[str, Any]) -> str:
    training = spec.training
    rows: list[tuple[str, object]] = [
        ("method", _cell(spec.method.describe())),
        ("objective", _cell(spec.objective.describe())),
        ("learning rate", f"{training.learning_rate:g}, {training.lr_scheduler_type}"),
        ("epochs", f"{training.num_train_epochs:g}" if training.max_steps is None else f"{training.max_steps} steps"),
        ("packing", f"{training.pack_length} tokens" if training.packing else "no"),
        ("seed", training.seed),
    ]
    rows += [
        (key.replace("_", " "), _cell(value)) for key, value in result.items() if isinstance(value, int | float | str)
    ]
    return _table(rows)


def _merging(merge: MergeSpec, result: Mapping[str, Any]) -> str:
    rows: list[tuple[str, object]] = [("method", _cell(merge.describe())), ("matrices", result["num_matrices"])]
    if result["relative_error"] is not None:
        rows.append(("lost by the rank, part of the change", _cell(result["relative_error"])))
    return _table(rows)


def _evaluation(result: Mapping[str, Any]) -> str:
    comparisons = {name: Comparison.from_json(entry) for name, entry in result["metrics"].items()}
    about = f"On {_number(result['num_rows'])} rows of the {result['split']} split, base model against this one."
    return f"{about}\n\n{comparison_table(comparisons, result['confidence_level'])}"


def _table(rows: Sequence[tuple[str, object]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return str(value).replace("|", "\\|").replace("\n", " ")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
