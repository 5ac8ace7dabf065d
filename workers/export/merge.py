"""The `merged` format: base and adapter become one set of weights that plain transformers loads."""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workers.failures import DivergedError

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""The dtypes of `export.dtype`."""


def merge(tuned: PeftModel) -> PreTrainedModel:
    """W + s B A for every adapted layer (Hu et al., 2021, arXiv:2106.09685, section 4.1). Uses `tuned` up.

    Args:
        tuned: in float32. In bfloat16 most of an update would be lost against the weight that it is added to.

    Raises:
        DivergedError: a merged weight is not finite.
    """
    assert tuned.dtype == torch.float32
    try:
        merged = tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise DivergedError(f"the adapter cannot be merged: {error}") from error
    assert isinstance(merged, PreTrainedModel)
    return merged


def write_merged(merged: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path, dtype: torch.dtype) -> None:
    """Saves weights in `dtype` (safetensors), config, generation config and tokenizer. Casts `merged` in place."""
    (merged.bfloat16() if dtype == torch.bfloat16 else merged).save_pretrained(out)
    tokenizer.save_pretrained(out)
