"""What is special about SpIEL: which weights go, which come and with what moments, and how little memory that takes."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from luthier.spec import JobSpec, SpielSpec
from tests.unit.workers.training.methods.rows import LAYERS, LINEAR, ROWS, Row, lora
from tests.unit.workers.training.methods.trained import (
    STEPS,
    TRAINING,
    adapt,
    engine_of,
    logits_in_training,
    logits_of,
    section_of,
)
from tests.unit.workers.training.tiny_run import Recorder, make_base, make_documents, make_engine
from workers.failures import ConfigError
from workers.models.tuned import ADAPTER, load_tuned
from workers.training.forward import target_logits
from workers.training.methods.adapter import save_adapter
from workers.training.methods.growth import Accumulated, Estimated
from workers.training.methods.regrowth import Regrowth
from workers.training.methods.sparse import SparseChange, sparse_changes
from workers.training.methods.spiel import add_spiel, control_spiel
from workers.training.optimizers import trainable_parameters
from workers.training.packing import make_batch

SIZES = set(LINEAR.values())
SECTION = {"type": "spiel", "r": 4, "update_steps": 4, "gradient_steps": 2}


def spec(**fields: Any) -> SpielSpec:
    return SpielSpec.model_validate({**SECTION, **fields})


def one_layer(width: int = 6, r: int = 1) -> tuple[SparseChange, nn.Parameter]:
    """The changes of a square layer by itself, 2 r width of its weights, which are the first ones."""
    layer = nn.Module()
    layer.base_layer = nn.Linear(width, width, bias=False)
    number = 2 * r * width
    places = torch.arange(number)
    layer.shira_weight = nn.ParameterDict({"default": nn.Parameter(torch.zeros(number))})
    layer.shira_indices = {"default": torch.stack([places // width, places % width]).int()}
    change = SparseChange("layer", layer)
    return change, change.values


def passed(change: SparseChange, gradient: torch.Tensor) -> None:
    """A backward pass with that gradient of the whole weight."""
    if change.watch is not None:
        change.watch(gradient)
    own = gradient.flatten()[change.positions]
    change.values.grad = own if change.values.grad is None else change.values.grad + own


def test_the_gradient_is_that_of_plain_peft() -> None:
    torch.manual_seed(0)
    ours = add_spiel(make_base(), spec())
    for parameter in trainable_parameters(ours).values():
        nn.init.normal_(parameter, std=0.1)
    batch = make_batch(make_documents(5))

    def gradients() -> dict[str, torch.Tensor]:
        ours.zero_grad()
        nn.functional.cross_entropy(target_logits(ours, batch, torch.float32), batch.targets).backward()
        return {name: parameter.grad.clone() for name, parameter in trainable_parameters(ours).items()}

    theirs = gradients()
    assert len(list(sparse_changes(ours))) == LAYERS * len(LINEAR)
    for name, gradient in gradients().items():
        assert gradient == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name


def test_nothing_as_large_as_a_weight_is_kept_for_the_backward_pass() -> None:
    model = add_spiel(make_base(), spec())
    list(sparse_changes(model))
    frozen = {parameter.data_ptr() for parameter in model.parameters()}
    kept: list[tuple[int, ...]] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in frozen:
            kept.append(tuple(tensor.shape))
        return tensor

    batch = make_batch(make_documents(3))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        target_logits(model, batch, torch.float32)
    assert not SIZES & {shape for shape in kept if len(batch.input_ids[0]) not in shape}


def test_the_accumulated_gradient_finds_the_weights_that_matter() -> None:
    change, values = one_layer()
    growth = Accumulated(change)
    control = Regrowth({"layer": (change, growth)}, spec(gradient_steps=2), 100)
    optimizer = torch.optim.SGD([values], lr=0.0)
    control.attach(optimizer)
    first, second = torch.zeros(6, 6), torch.zeros(6, 6)
    # Twelve candidates: the first pass decides which, the sum over the steps which of them are best.
    first.view(-1)[24:] = torch.arange(1.0, 13.0)
    second.view(-1)[24:] = -torch.arange(1.0, 13.0)
    second.view(-1)[30] = 100.0
    second.view(-1)[20] = 1000.0  # no candidate
    for step, gradient in enumerate((first, second)):
        values.grad = None
        passed(change, gradient)
        control.before_step(step)
        control.after_step(step)
    assert set(change.positions.tolist()) == set(range(24, 36)), "the first choice may replace all"
    assert change.watch is None


def test_what_changed_least_is_taken_back_and_less_of_it_every_time() -> None:
    change, values = one_layer(width=20, r=2)
    control = Regrowth({"layer": (change, Accumulated(change))}, spec(replaced_part=0.5), 16)
    control.attach(torch.optim.SGD([values], lr=0.0))
    torch.manual_seed(0)
    replaced = []
    for step in range(16):
        values.grad = None
        values.data = torch.arange(1.0, len(values) + 1)
        before = change.positions.clone()
        passed(change, torch.randn(20, 20))
        control.before_step(step)
        control.after_step(step)
        moved = (change.positions != before).nonzero().flatten()
        assert torch.equal(values[moved], torch.zeros(len(moved)))
        assert len(change.positions.unique()) == len(change.positions)
        if len(moved):
            replaced.append(len(moved))
            assert step == 1 or moved.max() < 0.5 * len(values) * (1 - (step + 1) / 16), "the smallest ones"
    assert replaced[0] > replaced[1] > replaced[2] > replaced[3] > 0


def test_a_weight_that_is_found_has_the_moments_of_one_that_was_there() -> None:
    """With the same gradient in every step, it is as if it had been watched from the first one."""
    change, values = one_layer()
    torch.manual_seed(1)
    gradient = torch.randn(6, 6)
    whole = nn.Parameter(torch.zeros(36))
    optimizer, dense = (torch.optim.AdamW([one], lr=1e-3, fused=True) for one in (values, whole))
    control = Regrowth({"layer": (change, Accumulated(change))}, spec(gradient_steps=3, update_steps=3), 100)
    control.attach(optimizer)
    before = change.positions.clone()
    for step in range(3):
        values.grad, whole.grad = None, gradient.flatten().clone()
        passed(change, 2 * gradient)
        control.before_step(step)
        values.grad *= 0.5  # clipped
        optimizer.step()
        dense.step()
        control.after_step(step)
    assert not torch.equal(change.positions, before)
    for name in ("exp_avg", "exp_avg_sq"):
        expected = dense.state[whole][name][change.positions]
        assert optimizer.state[values][name] == pytest.approx(expected, rel=1e-4), name


def test_the_estimate_bounds_the_second_moment_and_ranks_by_row_and_column() -> None:
    change, values = one_layer()
    growth = Estimated(change)
    torch.manual_seed(2)
    gradients = [torch.randn(6, 6) for _ in range(4)]
    moments = torch.zeros(12)
    for gradient in gradients:
        values.grad = gradient.flatten()[change.positions]
        moments = 0.999 * moments + 0.001 * values.grad.square()
        growth.confirm(1.0)
    free = torch.zeros(36, dtype=torch.bool)
    found = growth.find(free, 36)
    assert set(found.positions.tolist()) == set(range(12)), "rows of which nothing is known are not chosen"
    true = moments[found.positions] / (1 - 0.999**4)
    assert (found.square >= true - 1e-6).all()
    rows, columns = growth.tensors()["rows"], growth.tensors()["columns"]
    scores = torch.outer(rows, columns).flatten()[found.positions]
    assert (scores.diff() <= 0).all()


def test_a_skipped_step_leaves_no_trace() -> None:
    change, _ = one_layer()
    growth = Accumulated(change)
    growth.begin()
    passed(change, torch.full((6, 6), math.inf))
    growth.collect()
    passed(change, torch.arange(36.0).view(6, 6))
    growth.collect()
    growth.confirm(1.0)
    found = growth.find(torch.zeros(36, dtype=torch.bool), 3)
    assert found.positions.tolist() == [35, 34, 33]
    assert found.mean.tolist() == [35.0, 34.0, 33.0]


class Watching(Recorder):
    """Remembers what the model said after every step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.said: dict[int, torch.Tensor] = {}
        self._model = model

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        super().metrics(step, values)
        if "loss" in values:
            self.said[step] = logits_in_training(self._model)


def test_the_best_weights_keep_the_places_that_they_had(tmp_path: Path, base_dir: Path) -> None:
    """Changes that were exchanged later are back where they were, with what they were."""
    row = Row({**SECTION, "update_steps": 2, "gradient_steps": 1, "replaced_part": 0.9}, 0)
    model = adapt(row, base_dir)
    report = Watching(model)
    unlearnt = [SimpleNamespace(input_ids=row.input_ids[::-1], trainable=row.trainable) for row in make_documents(4)]
    engine, _ = make_engine(
        tmp_path / "run",
        report,
        model=model,
        validation=unlearnt,
        make_control=lambda num_steps: control_spiel(model, section_of(row), num_steps),
        **{**TRAINING, "eval_steps": 1},
    )
    best = engine.run().best_step
    assert best < STEPS - 3
    save_adapter(model, base_dir, tmp_path)
    said = logits_of(load_tuned(base_dir, tmp_path, torch.float32))
    assert said == pytest.approx(report.said[best], abs=1e-4)
    assert said != pytest.approx(report.said[STEPS], abs=1e-4)


def test_the_saved_adapter_is_as_small_as_what_was_changed(tmp_path: Path, base_dir: Path) -> None:
    model = adapt(ROWS["spiel"], base_dir)
    engine_of(ROWS["spiel"], model, tmp_path / "run", Recorder()).run()
    save_adapter(model, base_dir, tmp_path)
    stored = load_file(tmp_path / ADAPTER / "adapter_model.safetensors")
    values = {name: tensor for name, tensor in stored.items() if name.endswith("shira_weight")}
    assert sum(tensor.numel() for tensor in values.values()) == lora(4)
    for name, tensor in values.items():
        places = stored[name.replace("shira_weight", "shira_indices")]
        assert places.dtype == torch.int32
        assert len(torch.unique(places, dim=1).T) == len(tensor), "no weight is changed twice"


def test_changes_are_fp32_beside_a_base_in_bf16(base_dir: Path) -> None:
    model = adapt(ROWS["spiel"], base_dir, torch.bfloat16)
    assert {parameter.dtype for parameter in trainable_parameters(model).values()} == {torch.float32}
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gradient_steps": 5}, r"gradient_steps \(5\) must be at most update_steps \(4\)"),
        ({"selection": "rigl"}, "accumulated_gradient"),
        ({"replaced_part": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_no_model_could_fit_is_refused_in_the_job_file(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**fields)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"training": {"optim": "adamw_8bit"}}, "training.optim adamw_8bit .* take adamw or sgd"),
        ({"training": {"optim": "lamb"}}, "training.optim lamb"),
        ({"training": {"ema_decay": 0.9}}, "leave training.ema_decay out"),
        ({"training": {"precision": "fp16"}}, "take momentum, or training.precision: bf16"),
        ({"resources": {"num_ranks": 2}}, "take momentum, or one rank on one worker"),
    ],
)
def test_what_cannot_follow_the_exchange_is_refused_in_the_job_file(sections: dict[str, Any], words: str) -> None:
    job = {"name": "job", "base_model": "org/name", "data": {"path": "/data"}}
    with pytest.raises(ValidationError, match=words):
        JobSpec.model_validate({**job, "method": SECTION, **sections})


@pytest.mark.parametrize("num_steps", [4, 5])
def test_a_run_too_short_for_a_choice_keeps_what_it_has_learned(
    tmp_path: Path, base_dir: Path, caplog: pytest.LogCaptureFixture, num_steps: int
) -> None:
    """The first choice may replace all. With the last step it would leave nothing."""
    row = Row({**SECTION, "gradient_steps": 5, "update_steps": 5}, 0)
    model = adapt(row, base_dir)
    engine_of(row, model, tmp_path, Recorder(), training={"max_steps": num_steps}, validation=[]).run()
    assert all(change.values.count_nonzero() == change.values.numel() for change in sparse_changes(model))
    assert f"{num_steps} optimizer steps, and method.gradient_steps (5) leaves none of them" in caplog.text


def test_momentum_allows_several_ranks_and_fp16() -> None:
    job = {"name": "job", "base_model": "org/name", "data": {"path": "/data"}}
    sections = {"training": {"precision": "fp16"}, "resources": {"num_ranks": 2}}
    spec = JobSpec.model_validate({**job, "method": {**SECTION, "selection": "momentum"}, **sections})
    assert (spec.training.precision, spec.resources.num_ranks) == ("fp16", 2)


def test_what_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method.r 11 asks for 528 changed weights in .*k_proj.* set method.r to 10"):
        add_spiel(make_base(), spec(r=11))
    gpt = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=32, n_positions=16))
    with pytest.raises(ConfigError, match="is a Conv1D, which PEFT has no sparse adapter for"):
        add_spiel(gpt, spec(r=1))
    half: PeftModel = add_spiel(make_base().to(torch.float16), spec())
    with pytest.raises(ConfigError, match=r"set training.precision: bf16 or fp32, or method.selection: momentum"):
        control_spiel(half, spec(), 10)
