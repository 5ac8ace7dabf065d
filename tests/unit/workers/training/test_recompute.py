"""Activations that are computed again instead of kept: the same bits, fewer of them in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, get_peft_model
from torch import nn

from tests.unit.workers.training.tiny_run import Outcome, Recorder, make_base, make_documents, make_engine, make_model
from workers.failures import ConfigError
from workers.training.objectives.sft import summed_loss
from workers.training.packing import make_batch
from workers.training.recompute import recompute_activations

HOW = ["selective", "full"]


def run(folder: Path, how: str, method: str, dropout: float, compute: torch.dtype) -> Outcome:
    engine = make_engine(
        folder,
        Recorder(),
        model=make_model(method, dropout=dropout),
        compute=compute,
        gradient_checkpointing=how,
        max_steps=4,
        learning_rate=2e-3,
    )
    return Outcome.of(*engine)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("method", "dropout"), [("lora", 0.0), ("lora", 0.2), ("full", 0.0)])
def test_the_run_is_the_same_to_the_bit(tmp_path: Path, method: str, dropout: float, compute: torch.dtype) -> None:
    kept = run(tmp_path / "none", "none", method, dropout, compute)
    assert [run(tmp_path / how, how, method, dropout, compute) == kept for how in HOW] == [True, True]


def test_less_is_kept_for_the_backward_pass() -> None:
    def kept(how: str) -> int:
        model = make_model(dropout=0.0)
        recompute_activations(model, how)
        return _bytes_kept(lambda: summed_loss(model.train(), make_batch(make_documents(30)), torch.float32))

    none, selective, full = (kept(how) for how in ["none", *HOW])
    assert full < 0.5 * none
    assert full < selective < none


def test_it_is_off_outside_training() -> None:
    model = make_model(dropout=0.0)
    batch = make_batch(make_documents(5))
    recompute_activations(model, "full")
    in_training = _bytes_kept(lambda: summed_loss(model.train(), batch, torch.float32))
    assert in_training < _bytes_kept(lambda: summed_loss(model.eval(), batch, torch.float32))


def test_a_prefix_is_refused() -> None:
    model = get_peft_model(make_base(), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    with pytest.raises(ConfigError, match=r"training\.gradient_checkpointing.*prefix.*none"):
        recompute_activations(model, "full")


def test_a_model_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("full")
    monkeypatch.setattr(type(model), "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match=r"LlamaForCausalLM.*gradient_checkpointing: none"):
        recompute_activations(model, "selective")


def _bytes_kept(forward: Callable[[], Any]) -> int:
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()
    assert loss.requires_grad
    return sum(sizes.values())
