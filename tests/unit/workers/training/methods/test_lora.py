"""What is special about LoRA: its learning rates, where it starts, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from luthier.spec import LoraSpec
from tests.unit.workers.training.methods.rows import ROWS, Row, lora
from tests.unit.workers.training.methods.trained import (
    adapt,
    engine_of,
    logits_in_training,
    logits_of,
    plain_model,
    section_of,
    train,
)
from tests.unit.workers.training.tiny_run import KilledError, Killer, Recorder, make_base, weights
from workers.failures import ConfigError
from workers.models import load_model
from workers.training.methods.adapter import save_adapter
from workers.training.methods.borrowed import BorrowedStart
from workers.training.methods.lora import add_lora

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def test_lora_plus_moves_b_as_much_faster_as_it_says(tmp_path: Path, base_dir: Path) -> None:
    moved = {}
    for ratio in (1.0, 16.0):
        row = Row({"type": "lora", "r": 4, "lora_plus_ratio": ratio}, 0, learning_rate=1e-3)
        model = adapt(row, base_dir)
        before = weights(model)
        with pytest.raises(KilledError):
            engine_of(row, model, tmp_path / str(ratio), Killer(1, saved=False)).run()
        moved[ratio] = {name: (weight - before[name]).norm() for name, weight in weights(model).items()}
    for name, distance in moved[16.0].items():
        if ".lora_B." in name:  # A has no gradient yet, because B is zero
            assert distance.item() == pytest.approx(16 * moved[1.0][name].item(), rel=1e-4)


@pytest.mark.parametrize("name", ["lora-pissa", "lora-olora"])
def test_a_borrowed_start_leaves_the_model_as_it_was(base_dir: Path, name: str) -> None:
    model = adapt(ROWS[name], base_dir).eval()
    plain = load_model(base_dir, torch.float32)
    assert logits_in_training(model) == pytest.approx(logits_of(plain), abs=2e-4)
    assert not torch.equal(model.get_submodule(LAYER).base_layer.weight, plain.model.layers[0].self_attn.q_proj.weight)


def test_pissa_starts_at_the_best_approximation_of_its_rank(base_dir: Path) -> None:
    layer = adapt(ROWS["lora-pissa"], base_dir).get_submodule(LAYER)
    weight = load_model(base_dir, torch.float32).model.layers[0].self_attn.q_proj.weight.detach()
    left, values, right = torch.linalg.svd(weight)
    start = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert start.detach() == pytest.approx((left[:, :4] * values[:4]) @ right[:4], abs=1e-5)


def test_gaussian_a_has_the_deviation_of_its_rank(base_dir: Path) -> None:
    factors = weights(adapt(ROWS["lora-gaussian"], base_dir))
    first = torch.cat([factor.flatten() for name, factor in factors.items() if ".lora_A." in name])
    assert first.std().item() == pytest.approx(1 / 4, rel=0.1)


@pytest.mark.parametrize("name", ["lora-pissa", "lora-olora"])
def test_a_start_that_was_found_otherwise_elsewhere_ends_the_same(
    tmp_path: Path, base_dir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another machine's decomposition may find other vectors, and so leave another rest in the frozen weights."""
    row = ROWS[name]
    straight = train(row, base_dir, tmp_path)
    report = Killer(7, saved=False)
    with pytest.raises(KilledError):
        engine_of(row, adapt(row, base_dir), tmp_path / "first", report).run()
    other = {"pissa": "olora", "olora": "pissa"}[row.section["init_lora_weights"]]
    elsewhere = Row({**row.section, "init_lora_weights": other}, row.num_trained, row.learning_rate)
    model = adapt(elsewhere, base_dir)
    engine_of(elsewhere, model, tmp_path / "second", Recorder(), earlier=report.checkpoints, fence=2).run()
    assert logits_in_training(model) == pytest.approx(logits_in_training(straight.model), abs=1e-3)


def test_a_borrowed_start_in_bf16_fits_the_published_weights(tmp_path: Path, base_dir: Path) -> None:
    """What is left in bf16 of a weight and its rest differ by rounding, and by nothing else."""
    row = ROWS["lora-pissa"]
    model = adapt(row, base_dir, torch.bfloat16)
    control = BorrowedStart(model, {})
    control.finish()
    update = model.get_submodule(LAYER).get_delta_weight("default")
    weight = load_model(base_dir, torch.float32).model.layers[0].self_attn.q_proj.weight.detach()
    assert update.abs().max().item() < 1e-5
    assert (model.get_submodule(LAYER).base_layer.weight - weight).abs().max().item() < 2**-7 * weight.abs().max()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"target_modules": ["q_proj", "qproj"]}, "method.target_modules 'qproj' does not fit .* down_proj, gate_proj"),
        ({"target_modules": "q_proj"}, "'q_proj' does not fit .* a regular expression must fit the whole name"),
        ({"target_modules": ["embed_tokens"]}, "'embed_tokens' does not fit this model"),
        ({"r": 17}, r"method.r 17 is above the size of .*k_proj, which is 16 x 32; set method.r to 16 or less"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        add_lora(make_base(), LoraSpec(**section))


def test_an_output_layer_that_is_the_embeddings_is_refused(tiny_model_dir: Path) -> None:
    with pytest.raises(ConfigError, match=r"method.target_modules has the output layer"):
        add_lora(load_model(tiny_model_dir, torch.float32), LoraSpec(r=4, target_modules=["q_proj", "lm_head"]))


def test_an_output_layer_of_its_own_may_have_an_adapter(tmp_path: Path, base_dir: Path) -> None:
    run = train(Row({"type": "lora", "r": 4, "target_modules": ["lm_head"]}, 0), base_dir, tmp_path)
    assert logits_of(plain_model(base_dir, run.folder)) == pytest.approx(logits_in_training(run.model), abs=3e-5)


def test_the_names_of_its_layers_are_saved_in_order(tmp_path: Path, base_dir: Path) -> None:
    model = add_lora(load_model(base_dir, torch.float32), LoraSpec(r=4))
    save_adapter(model, base_dir, tmp_path)
    names = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert len(names) == 7 * model.config.num_hidden_layers
    assert names == sorted(names)


def test_a_larger_rank_fits_where_small_layers_are_left_out() -> None:
    adapted = add_lora(make_base(), LoraSpec(r=17, target_modules=r".*\.(q|o)_proj"))
    assert sum(one.numel() for one in adapted.parameters() if one.requires_grad) == 17 * lora(1, "q_proj", "o_proj")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"target_modules": []}, "names no layer"),
        ({"target_modules": [""]}, "names no layer"),
        ({"target_modules": "q_(proj"}, "is not a regular expression: missing \\)"),
        ({"lora_plus_ratio": 0.5}, "greater than or equal to 1"),
        ({"init_lora_weights": "zeros"}, "'default', 'gaussian', 'pissa' or 'olora'"),
    ],
)
def test_what_no_model_could_fit_is_refused_in_the_job_file(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LoraSpec(**section)


def test_a_variant_is_described() -> None:
    spec = section_of(ROWS["lora-gaussian"])
    assert spec.describe() == "LoRA on all-linear, r = 4, alpha = 32, B 4 times as fast, gaussian start, dropout = 0"
