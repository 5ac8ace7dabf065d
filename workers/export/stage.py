"""`export`: writes the formats that the job asks for, proves them against the trained model, writes the model card.

What is published: `peft/ adapter/ merged/ triton/<triton_model>/ README.md parity.json`, as far as `export.formats`
names them. Nothing is published when the proof fails.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from luthier.spec import DeploySpec, ExportSpec
from luthier.spec.export import ExportFormat
from workers.evaluation.plan import held_out
from workers.evaluation.steps import Steps
from workers.export.card import BaseModel, write_card
from workers.export.classifier import run_classifier
from workers.export.merge import DTYPES, merge
from workers.export.parity import Side, chat_side, compare_sides, observe, plain_side, refusal
from workers.export.peft import write_peft
from workers.export.triton import write_repository
from workers.failures import ConfigError
from workers.models import choose_device, load_model, load_tokenizer, resolve_base_of, save_model
from workers.models.tuned import ADAPTER, load_adapted, load_tuned
from workers.task import Report, StageResult, Task

_PROVED_FIRST: tuple[ExportFormat, ...] = ("triton", "merged", "peft", "adapter")
"""The format nearest to what is served is the one that the proof goes through."""

_JOB_ID_TAIL = 8
_MAX_NAME = 64


def run(task: Task, report: Report) -> StageResult:
    """The stage. Needs `preprocess`, `train` or `merge`, and `evaluate`.

    Raises:
        ConfigError: the exported model does not answer as the trained one, or Triton is to serve one that cannot chat.
        DataError: there are no held-out rows.
        DivergedError: a trained weight is not finite.
        PreemptedError: the worker drains.
    """
    if task.spec.objective.has_head:
        return run_classifier(task, report)
    spec = task.spec.export
    _, examples = held_out(task.input_dir("preprocess"), spec.parity.num_prompts)
    trained_folder = task.tuned_dir()
    base_folder = resolve_base_of(task.spec, task.settings)
    base = BaseModel.of(task.spec.base_model, base_folder)
    tokenizer = load_tokenizer(base_folder)
    _check_formats(spec, tokenizer)
    out = task.new_dir("export")
    triton_model = triton_model_name(task.spec.name, task.assignment.stage.job_id) if "triton" in spec.formats else ""
    device = choose_device()
    steps = Steps(report, 2 * len(examples))

    steps.advance(0, "loading the trained model")
    tuned: Any = load_tuned(base_folder, trained_folder, torch.float32, task.settings.custom_methods)
    tuned.to(device)
    trained = observe(
        plain_side(tuned, tokenizer, spec.parity.max_new_tokens),
        examples,
        lambda rows: steps.advance(rows, "trained model answers held-out prompts"),
    )
    if "peft" in spec.formats:
        write_peft(
            trained_folder / ADAPTER, out / "peft", base.name, tokenizer if task.spec.has_own_tokenizer else None
        )
    if "adapter" in spec.formats:
        write_peft(trained_folder / ADAPTER, out / "adapter", base.name)
    if "merged" in spec.formats:
        steps.advance(0, "merging")
        save_model(merge(tuned), tokenizer, out / "merged", DTYPES[spec.dtype])
    if "triton" in spec.formats:
        deploy = task.spec.deploy or DeploySpec()
        system_prompt = task.spec.data.system_prompt or ""
        write_repository(out / "merged", out / "triton", triton_model, deploy.max_new_tokens, system_prompt)

    subject = next(name for name in _PROVED_FIRST if name in spec.formats)
    exported = observe(
        _open(subject, out, base_folder, triton_model, task, device),
        examples,
        lambda rows: steps.advance(rows, "exported model answers held-out prompts"),
        follow=trained.answers,
    )
    parity = compare_sides(subject, examples, trained, exported)
    if reason := refusal(parity, spec.parity, spec.dtype):
        raise ConfigError(reason)
    (out / "parity.json").write_text(json.dumps(parity.to_json(), indent=1) + "\n")
    results = {name: json.loads(task.input(name).result_json) for name in task.assignment.inputs}
    write_card(out / "README.md", task.spec, base, triton_model, results, parity.describe(spec.dtype))
    return StageResult(
        folder=out,
        metrics={
            "greedy_agreement": parity.greedy_agreement,
            "max_logit_difference": parity.max_logit_difference,
        },
        result={"triton_model": triton_model, "formats": list(spec.formats), "parity": parity.to_json()},
    )


def triton_model_name(job_name: str, job_id: str) -> str:
    """Name of the exported model inside Triton: readable, and its own for every job."""
    tail = f"-{job_id[-_JOB_ID_TAIL:]}"
    return (job_name[: _MAX_NAME - len(tail)] + tail).lower()


def _check_formats(spec: ExportSpec, tokenizer: PreTrainedTokenizerBase) -> None:
    if "triton" in spec.formats and not tokenizer.chat_template:
        raise ConfigError(
            "the triton format serves chats, and the tokenizer of this base_model has no chat template; "
            "leave triton out of export.formats, or use an instruct model"
        )


def _open(subject: ExportFormat, out: Path, base: Path, triton_model: str, task: Task, device: torch.device) -> Side:
    """The exported model, read back from its files."""
    spec = task.spec.export
    max_new_tokens = spec.parity.max_new_tokens
    match subject:
        case "triton":
            return chat_side(out / "triton" / triton_model / "1", device, max_new_tokens)
        case "merged":
            merged: Any = load_model(out / "merged", DTYPES[spec.dtype])
            return plain_side(merged.to(device), load_tokenizer(out / "merged"), max_new_tokens)
        case "peft" | "adapter":
            adapted: Any = load_adapted(base, out / subject, torch.float32, task.settings.custom_methods)
            return plain_side(adapted.to(device), load_tokenizer(base), max_new_tokens)
