"""What is special about AdaLoRA: ranks that fall, what they fall to, and the penalty beside the loss."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file

from luthier.spec import AdaloraSpec
from tests.unit.workers.training.methods.rows import LAYERS, LINEAR, ROWS, Row
from tests.unit.workers.training.methods.trained import (
    STEPS,
    TRAINING,
    adapt,
    engine_of,
    logits_in_training,
    logits_of,
    plain_model,
    section_of,
    train,
)
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Recorder,
    make_base,
    make_documents,
    make_engine,
    make_store,
)
from workers.export.merge import merge
from workers.failures import ConfigError
from workers.models.tuned import ADAPTER, load_tuned
from workers.training.methods.adalora import Allocation, add_adalora
from workers.training.methods.adapter import save_adapter
from workers.training.optimizers import trainable_parameters

SECTION = {"type": "adalora", "init_r": 6, "target_r": 3, "delta_t": 2}


def test_the_final_ranks_are_as_low_as_was_asked_for(tmp_path: Path, base_dir: Path) -> None:
    run = train(ROWS["adalora"], base_dir, tmp_path)
    config = json.loads((run.folder / ADAPTER / "adapter_config.json").read_text())
    ranks = {name: sum(kept) for name, kept in config["rank_pattern"].items()}
    assert len(ranks) + len(config["exclude_modules"]) == LAYERS * len(LINEAR)
    assert sum(ranks.values()) == 3 * LAYERS * len(LINEAR)
    assert len(set(ranks.values())) > 1, "layers keep what they need, not all the same"
    stored = load_file(run.folder / ADAPTER / "adapter_model.safetensors")
    for name, rank in ranks.items():
        layer = f"base_model.model.{name.removesuffix('.lora_E')}"
        assert stored[f"{layer}.lora_A"].shape[0] == stored[f"{layer}.lora_B"].shape[1] == rank
    loaded = load_tuned(base_dir, run.folder, torch.float32)
    assert {name: layer.r["default"] for name, layer in _layers(loaded)} == {
        f"base_model.model.{name.removesuffix('.lora_E')}": rank for name, rank in ranks.items()
    }


@pytest.mark.parametrize(
    "targets", ["all-linear", r".*\.(q_proj|up_proj|down_proj)", ["q_proj", "up_proj", "down_proj"]]
)
def test_a_layer_that_lost_all_ranks_is_saved_without_an_adapter(
    tmp_path: Path, base_dir: Path, recwarn: pytest.WarningsRecorder, targets: str | list[str]
) -> None:
    """PEFT takes factors without a row for those of a sharded model, and torch warns of them when they are loaded."""
    early = ROWS["adalora-early"]
    run = train(replace(early, section={**early.section, "target_modules": targets}), base_dir, tmp_path)
    config = json.loads((run.folder / ADAPTER / "adapter_config.json").read_text())
    stored = load_file(run.folder / ADAPTER / "adapter_model.safetensors")
    adapted = dict(_layers(run.model))
    excluded = config["exclude_modules"]
    assert excluded
    assert all(0 not in weight.shape for weight in stored.values())
    assert not any(name in key for name in excluded for key in stored)
    assert {f"base_model.model.{name.removesuffix('.lora_E')}" for name in config["rank_pattern"]} == adapted.keys()
    assert logits_of(plain_model(base_dir, run.folder)) == pytest.approx(logits_in_training(run.model), abs=3e-5)
    assert logits_of(merge(load_tuned(base_dir, run.folder, torch.float32))) == pytest.approx(
        logits_in_training(run.model), abs=3e-5
    )
    words = ("invalid shape", "zero-element", "exclude_modules", "inconsistency")
    assert not [str(one.message) for one in recwarn if any(word in str(one.message) for word in words)]


def test_no_rank_is_taken_away_before_its_time_nor_after(tmp_path: Path, base_dir: Path) -> None:
    """10 % of twelve steps is one, 30 % are three; in between every second step, by the cubic schedule."""
    model = adapt(ROWS["adalora"], base_dir)
    engine = engine_of(ROWS["adalora"], model, tmp_path, Watching(lambda: ranks.append(_num_kept(model))))
    ranks: list[int] = []
    engine.run()
    full, least = 6 * LAYERS * len(LINEAR), 3 * LAYERS * len(LINEAR)

    def budget(step: int) -> int:
        return int((full - least) * (1 - (step - 1) / (STEPS - 3 - 1)) ** 3 + least)

    assert ranks[0] == full
    assert [ranks[step - 1] for step in (2, 4, 6, 8)] == [budget(step) for step in (2, 4, 6, 8)]
    assert ranks[8:] == [least] * 4


def test_the_best_weights_keep_the_ranks_that_they_had(
    tmp_path: Path, base_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ranks that were taken away later are not missing from weights of an earlier step."""
    row = Row(SECTION, 0)
    model = adapt(row, base_dir)
    unlearnt = [SimpleNamespace(input_ids=row.input_ids[::-1], trainable=row.trainable) for row in make_documents(4)]
    engine, _ = make_engine(
        tmp_path / "run",
        Recorder(),
        model=model,
        validation=unlearnt,
        make_control=lambda num_steps: Allocation(model, section_of(row), num_steps),
        **TRAINING,
    )
    assert engine.run().best_step < STEPS - 3
    (tmp_path / "artifact").mkdir()
    save_adapter(model, base_dir, tmp_path / "artifact")
    loaded = load_tuned(base_dir, tmp_path / "artifact", torch.float32)
    assert logits_of(loaded) == pytest.approx(logits_in_training(model), abs=1e-4)
    assert "raise method.tfinal" in caplog.text


@pytest.mark.parametrize("skipped", [[8], [7, 8, 9, 10], [*range(11)]])
def test_a_skipped_step_does_not_cost_the_last_allocation(base_dir: Path, skipped: list[int]) -> None:
    """It is due after step 8 (from 0)."""
    model = adapt(ROWS["adalora"], base_dir)
    control = Allocation(model, section_of(ROWS["adalora"]), STEPS)
    for step in range(STEPS):
        for weight in trainable_parameters(model).values():
            weight.grad = torch.randn_like(weight)
            weight.data += 0.01 * weight.grad
        if step not in skipped:
            control.after_step(step)
    assert _num_kept(model) == 3 * LAYERS * len(LINEAR)


def test_a_checkpoint_holds_what_the_allocator_knows(tmp_path: Path, base_dir: Path) -> None:
    report = Killer(7, saved=False)
    with pytest.raises(KilledError):
        engine_of(ROWS["adalora"], adapt(ROWS["adalora"], base_dir), tmp_path, report).run()
    state = make_store(tmp_path, report).load(report.checkpoints[0].uri).control
    kinds = [key.split("/")[0] for key in state]
    num_layers = LAYERS * len(LINEAR)
    assert kinds.count("sensitivity") == kinds.count("uncertainty") == 3 * num_layers
    assert kinds.count("kept") == num_layers


def test_the_penalty_is_that_of_peft() -> None:
    config = AdaLoraConfig(
        task_type="CAUSAL_LM",
        init_r=6,
        target_r=3,
        lora_alpha=32,
        orth_reg_weight=0.7,
        total_step=12,
        target_modules="all-linear",
    )
    torch.manual_seed(0)
    theirs = get_peft_model(_with_its_own_attention(), config).eval()
    ids = torch.arange(3, 12)[None]
    theirs(input_ids=ids, labels=ids).loss.backward()
    ours = add_adalora(_with_its_own_attention(), AdaloraSpec(**SECTION, orth_reg_weight=0.7)).eval()
    ours.load_state_dict(theirs.state_dict())
    Allocation(ours, AdaloraSpec(**SECTION, orth_reg_weight=0.7), 12).before_step(0)
    logits = ours(input_ids=ids).logits
    torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]).backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    found = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert found[name] == pytest.approx(gradient, abs=1e-6), name


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"target_r": 12}, r"target_r \(12\) must be below init_r \(12\): raise init_r, or take type: lora with r: 12"),
        ({"beta1": 1.0}, "less than 1"),
    ],
)
def test_what_no_model_could_fit_is_refused_in_the_job_file(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AdaloraSpec(type="adalora", **section)


def test_what_does_not_fit_is_refused(tmp_path: Path, base_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"method.init_r 17 is above the size of .*k_proj"):
        add_adalora(make_base(), AdaloraSpec(type="adalora", init_r=17))
    row = Row({**SECTION, "tinit": 8, "tfinal": 4}, 0)
    with pytest.raises(ConfigError, match=r"method.tinit \(8\) and method.tfinal \(4\) leave none of the 12"):
        engine_of(row, adapt(row, base_dir), tmp_path, Recorder())


class Watching(Recorder):
    """A report that looks at something whenever a step is over."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self._look = look

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        self._look()


def _with_its_own_attention() -> Any:
    model = make_base()
    model.set_attn_implementation("eager")
    return model


def _layers(model: torch.nn.Module) -> list[tuple[str, Any]]:
    return [(name, part) for name, part in model.named_modules() if hasattr(part, "lora_E")]


def _num_kept(model: torch.nn.Module) -> int:
    return sum(int((layer.lora_E["default"] != 0).sum()) for _, layer in _layers(model))
