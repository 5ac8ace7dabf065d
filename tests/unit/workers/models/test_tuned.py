"""A tuned model is base plus adapter, each in the dtype that was asked for."""

from pathlib import Path

import pytest
import torch

from workers.models import load_model
from workers.models.tuned import load_tuned


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_have_the_dtype_and_rotary_frequencies_stay_exact(
    teachable_model_dir: Path, adapter_dir: Path, dtype: torch.dtype
) -> None:
    tuned = load_tuned(teachable_model_dir, adapter_dir / "adapter", dtype)
    assert {weight.dtype for weight in tuned.state_dict().values()} == {dtype}
    assert tuned.get_base_model().get_decoder().rotary_emb.inv_freq.dtype == torch.float32
    assert not tuned.training


def test_without_its_adapter_it_is_the_base_model(teachable_model_dir: Path, adapter_dir: Path) -> None:
    base = load_model(teachable_model_dir, torch.float32)
    tuned = load_tuned(teachable_model_dir, adapter_dir / "adapter", torch.float32)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        with tuned.disable_adapter():
            assert torch.equal(tuned(ids).logits, base(ids).logits)
        assert not torch.allclose(tuned(ids).logits, base(ids).logits)
