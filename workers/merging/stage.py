"""The `merge` stage: adapters and their base model in; one adapter, or a whole model, out.

It leaves what training leaves (`adapter/` or `model/`, `summary.json`), so that all later stages take it for a trained
model. In memory are the base model as it is stored and, in fp32, the changes of one matrix; the factors of a merged
adapter besides. Everything is computed on the CPU.
"""

import json
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from luthier.spec import MergeSpec
from workers.evaluation.steps import Steps
from workers.failures import ConfigError
from workers.merging.adapter import LoraAdapter
from workers.merging.combine import combine, concatenate, nearest
from workers.merging.origin import check_base
from workers.merging.sources import find_adapter
from workers.merging.write import Factors, change_weight, weight_of, write_adapter
from workers.models import load_model, load_tokenizer, resolve_base_of, save_model, stored_dtype
from workers.models.tuned import ADAPTER, MODEL
from workers.task import Report, StageResult, Task


def run(task: Task, report: Report) -> StageResult:
    """The stage. It reads nothing of `preprocess`, which it waits for: bad data should fail a job first.

    Raises:
        ConfigError: an adapter cannot be read, cannot be merged, or is of another base model.
        DataError: the artifact of an adapter is damaged.
        PreemptedError: the worker drains.
    """
    merge = task.spec.merge
    assert merge is not None
    report.progress(0, 0, "reading the adapters")
    adapters = []
    for number, source in enumerate(merge.adapters):
        folder = find_adapter(source.path, f"merge.adapters.{number}.path", task, task.work_dir / f"adapter-{number}")
        adapters.append(LoraAdapter(folder, source.path, source.weight))
    base = resolve_base_of(task.spec, task.settings)
    check_base(adapters, task.spec.base_model, base)
    dtype = stored_dtype(base)
    job = Merge(load_model(base, dtype), adapters, merge)
    steps = Steps(report, len(job.layers))
    out = task.new_dir("output")
    if merge.makes_adapter:
        factors = {}
        for layer in job.layers:
            factors[layer] = job.factors(layer)
            steps.advance(1, f"merged {layer}")
        write_adapter(factors, str(base), out / ADAPTER)
    else:
        for layer in job.layers:
            change_weight(job.model.get_submodule(layer), job.change(layer))
            steps.advance(1, f"merged {layer}")
        save_model(job.model, load_tokenizer(base), out / MODEL, dtype)
    metrics = {"num_matrices": float(len(job.layers))}
    if merge.svd_rank is not None:
        metrics["relative_error"] = job.relative_error
    figures = {
        "type": merge.type,
        "output": merge.output,
        "num_matrices": len(job.layers),
        "adapters": [{"path": one.name, "weight": one.weight, "num_matrices": len(one.layers)} for one in adapters],
        "relative_error": metrics.get("relative_error"),
    }
    (out / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
    return StageResult(folder=out, metrics=metrics, result=figures)


class Merge:
    """A merge of adapters that fit a model, matrix by matrix."""

    def __init__(self, model: PreTrainedModel, adapters: Sequence[LoraAdapter], spec: MergeSpec) -> None:
        """
        Raises:
            ConfigError: an adapter is of another model.
        """
        self.model = model
        self._adapters = adapters
        self._spec = spec
        for adapter in adapters:
            adapter.check_fits(model)
        self.layers = list(dict.fromkeys(layer for adapter in adapters for layer in adapter.layers))
        self._lost = self._whole = 0.0

    @property
    def relative_error(self) -> float:
        """Frobenius norm of what `svd_rank` lost so far, as a part of that of the changes."""
        return (self._lost / self._whole) ** 0.5 if self._whole else 0.0

    def change(self, layer: str) -> torch.Tensor:
        """fp32 [out, in]: what is added to the layer's weight."""
        changing = [adapter for adapter in self._adapters if layer in adapter.layers]
        weight = weight_of(self.model.get_submodule(layer))
        changes = [adapter.delta(layer, weight) for adapter in changing]
        return combine(changes, [adapter.weight for adapter in changing], self._spec, layer)

    def factors(self, layer: str) -> Factors:
        """The change as a product: exact for `linear`, else the nearest one of `svd_rank`.

        Raises:
            ConfigError: an adapter has DoRA, whose change has no low rank.
        """
        if self._spec.svd_rank is None:
            return concatenate(
                [self._weighted(adapter, layer) for adapter in self._adapters if layer in adapter.layers]
            )
        change = self.change(layer)
        down, up = nearest(change, self._spec.svd_rank)
        self._lost += float((change - up @ down).double().square().sum())
        self._whole += float(change.double().square().sum())
        return down, up

    @staticmethod
    def _weighted(adapter: LoraAdapter, layer: str) -> Factors:
        if adapter.has_magnitude(layer):
            raise ConfigError(
                f"adapter {adapter.name} is weight-decomposed (DoRA), and what it changes has no low rank; set "
                "merge.output: model, or merge.svd_rank for the nearest adapter of that rank"
            )
        down, up = adapter.factors(layer)
        return down, adapter.weight * up
