"""What training left is a base with an adapter or a model of its own, in the dtype that was asked for."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workers.models import load_model
from workers.models.tuned import load_tuned


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_weights_have_the_dtype_and_rotary_frequencies_stay_exact(
    teachable_model_dir: Path, adapter_dir: Path, dtype: torch.dtype
) -> None:
    tuned = load_tuned(teachable_model_dir, adapter_dir, dtype)
    assert isinstance(tuned, PeftModel)
    assert {weight.dtype for weight in tuned.state_dict().values()} == {dtype}
    assert tuned.get_base_model().get_decoder().rotary_emb.inv_freq.dtype == torch.float32
    assert not tuned.training


def test_a_whole_model_needs_no_base(whole_model_dir: Path, adapter_dir: Path, teachable_model_dir: Path) -> None:
    whole = load_tuned(Path("/nothing"), whole_model_dir, torch.float32)
    assert isinstance(whole, PreTrainedModel)
    assert not whole.training
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        adapted = load_tuned(teachable_model_dir, adapter_dir, torch.float32)
        assert torch.allclose(whole(ids).logits, adapted(ids).logits, atol=1e-2)
        assert not torch.allclose(whole(ids).logits, load_model(teachable_model_dir, torch.float32)(ids).logits)
