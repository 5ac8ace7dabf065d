"""`export` of a model with a head: `peft/ merged/ README.md parity.json`, as far as `export.formats` names them.

Both load in plain transformers and PEFT as the sequence classifier of the architecture, and the proof goes through
that: held-out rows by the trained model, and by what was read back from the files with transformers' own forward pass.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from luthier.spec.export import ExportFormat
from workers.data.dataset import Example, Rejected
from workers.evaluation.batches import batches, pad_left
from workers.evaluation.classify import labelled_rows, score_rows
from workers.evaluation.steps import Steps
from workers.export.card import BaseModel, write_card
from workers.export.merge import DTYPES, merge
from workers.export.peft import write_peft
from workers.failures import ConfigError
from workers.models import choose_device, load_tokenizer, resolve_base_of, save_model
from workers.models.tuned import ADAPTER, load_tuned
from workers.task import Report, StageResult, Task
from workers.training.classes import Classes
from workers.training.heads import HEAD, as_classifier, load_head, output_name

_MAX_BATCH_TOKENS = 2048
_SCORE, _SCORE_BEHIND_VIRTUAL = "base_model.model.score.weight", "base_model.score.weight"
"""How PEFT calls the weight of a head that it saves beside an adapter, and beside virtual tokens."""


@dataclass(frozen=True)
class LabelParity:
    """The proof."""

    subject: ExportFormat
    """Which of the exported formats was compared."""
    num_rows: int
    agreement: float
    """Part of the rows that get the same class or classes, or of the pairs of which the same answer scores higher."""
    max_logit_difference: float

    def describe(self, dtype: str) -> str:
        """For the model card."""
        return (
            f"{self.num_rows} held-out rows went through the trained model (not merged, float32) and the exported "
            f"`{self.subject}` ({dtype}), as plain transformers loads it. {self.agreement:.1%} of them get the same "
            f"class, or all the same ones where a row has several (of a pair: the same answer scores higher). Largest "
            f"difference of a score: {self.max_logit_difference:.3g}."
        )


def run_classifier(task: Task, report: Report) -> StageResult:
    """The stage, for an objective with a head.

    Raises:
        ConfigError: the exported model does not classify as the trained one.
        DataError: there are no held-out rows.
        DivergedError: a trained weight is not finite.
        PreemptedError: the worker drains.
    """
    spec = task.spec.export
    _, examples = labelled_rows(task.input_dir("preprocess"), spec.parity.num_prompts)
    trained = task.tuned_dir()
    base_folder = resolve_base_of(task.spec, task.settings)
    base = BaseModel.of(task.spec.base_model, base_folder)
    tokenizer = load_tokenizer(base_folder)
    device = choose_device()
    steps = Steps(report, 2 * sum(1 if example.rejected is None else 2 for example in examples))
    out = task.new_dir("export")

    steps.advance(0, "loading the trained model")
    tuned: Any = load_tuned(base_folder, trained, torch.float32, task.settings.custom_methods)
    classes = load_head(tuned, trained)
    tuned.to(device)

    def score(rows: Sequence[Example | Rejected]) -> torch.Tensor:
        return score_rows(tuned, tokenizer, rows, lambda num: steps.advance(num, "trained model scores"))

    expected = _of_each_text(examples, score)
    if "peft" in spec.formats:
        write_peft(trained / ADAPTER, out / "peft", base.name, tokenizer if task.spec.has_own_tokenizer else None)
        _add_head(trained / HEAD, out / "peft", output_name(tuned))
    if "merged" in spec.formats:
        steps.advance(0, "merging")
        classifier = as_classifier(merge(tuned), classes, int(tokenizer.pad_token_id or 0))
        save_model(classifier, tokenizer, out / "merged", DTYPES[spec.dtype])

    subject: ExportFormat = "merged" if "merged" in spec.formats else "peft"
    if subject == "merged":
        exported: Any = _load_classifier(out / "merged", DTYPES[spec.dtype])
    else:
        exported = _load_classifier(base_folder, torch.float32, num_labels=len(classes.labels))
        exported.config.pad_token_id = tokenizer.pad_token_id
        exported = PeftModel.from_pretrained(exported, str(out / "peft"))
    exported.to(device).eval()

    def score_again(rows: Sequence[Example | Rejected]) -> torch.Tensor:
        return _score_plainly(exported, tokenizer, rows, lambda num: steps.advance(num, "exported model scores"))

    found = _of_each_text(examples, score_again)
    parity = LabelParity(
        subject=subject,
        num_rows=len(examples),
        agreement=agreement_of(classes, expected, found),
        max_logit_difference=float((expected - found).abs().max()),
    )
    if parity.agreement < spec.parity.min_greedy_agreement:
        raise ConfigError(
            f"the exported {subject} gives {parity.agreement:.1%} of {len(examples)} held-out rows what the trained "
            f"model gives them; export.parity.min_greedy_agreement is {spec.parity.min_greedy_agreement:.1%}: set "
            f"export.dtype: float32, or lower it"
        )
    (out / "parity.json").write_text(json.dumps(asdict(parity), indent=1) + "\n")
    results = {name: json.loads(task.input(name).result_json) for name in ("preprocess", "train", "evaluate")}
    write_card(out / "README.md", task.spec, base, "", results, parity.describe(spec.dtype))
    return StageResult(
        folder=out,
        metrics={"greedy_agreement": parity.agreement, "max_logit_difference": parity.max_logit_difference},
        result={
            "triton_model": "",
            "formats": list(spec.formats),
            "labels": list(classes.labels),
            "parity": asdict(parity),
        },
    )


def agreement_of(classes: Classes, expected: torch.Tensor, found: torch.Tensor) -> float:
    """Part of the rows of two [rows, scores] that get the same classes; one with a score that is no number does not."""
    is_same = (classes.pick(expected) == classes.pick(found)).all(1)
    return float((is_same & found.isfinite().all(1)).double().mean())


def _of_each_text(
    examples: Sequence[Example], score: Callable[[Sequence[Example | Rejected]], torch.Tensor]
) -> torch.Tensor:
    """The scores of each row: of its classes, or of the two answers of a pair."""
    rejected = [example.rejected for example in examples if example.rejected is not None]
    return torch.cat([score(texts) for texts in (examples, rejected) if texts], dim=1)


def _add_head(head: Path, adapter: Path, output: str) -> None:
    """Makes of an adapter one that PEFT puts beside a classifier, with its head; the labels lie in `head.json`.

    A classifier has no layer `output`, so what the adapter has beside that, such as rows of added tokens, is left out.
    """
    config = json.loads((adapter / "adapter_config.json").read_text())
    rows = config.get("trainable_token_indices")
    if isinstance(rows, dict):
        config["trainable_token_indices"] = {name: ids for name, ids in rows.items() if name != output}
    config["task_type"] = "SEQ_CLS"
    config["modules_to_save"] = [*(config.get("modules_to_save") or []), "score"]
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    is_virtual = PeftConfig.from_pretrained(str(adapter)).is_prompt_learning
    stored = load_file(adapter / "adapter_model.safetensors")
    weights = {name: weight for name, weight in stored.items() if f".{output}." not in name}
    weights[_SCORE_BEHIND_VIRTUAL if is_virtual else _SCORE] = load_file(head / "head.safetensors")["weight"]
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(head / "head.json", adapter / "head.json")


def _load_classifier(folder: Path, dtype: torch.dtype, **settings: int) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **settings
    )


@torch.inference_mode()
def _score_plainly(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example | Rejected],
    advance: Callable[[int], None],
) -> torch.Tensor:
    """fp32 [num_rows, num_classes] as a plain forward pass of a classifier gives them, on the CPU.

    PEFT puts virtual tokens before the padding, where they would be too far from their row: then rows go one by one.
    """
    one_by_one = isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning
    results: dict[int, torch.Tensor] = {}
    for indices in batches([len(example.input_ids) for example in examples], 0 if one_by_one else _MAX_BATCH_TOKENS):
        rows = [examples[index].input_ids.tolist() for index in indices]
        input_ids, mask = pad_left(rows, int(tokenizer.pad_token_id or 0), model.device)
        results |= zip(indices, model(input_ids=input_ids, attention_mask=mask).logits.float().cpu(), strict=True)
        advance(len(indices))
    return torch.stack([results[index] for index in range(len(examples))])
