"""The `merged` format: one set of weights that plain transformers loads, whatever the training left."""

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workers.failures import DivergedError
from workers.models.tuned import TunedModel

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
"""The dtypes of `export.dtype`."""


def merge(tuned: TunedModel) -> PreTrainedModel:
    """W + s B A for every adapted layer (Hu et al., 2021, arXiv:2106.09685, section 4.1). Uses `tuned` up.

    A model without an adapter is whole already and comes back as it is.

    Args:
        tuned: in float32. In bfloat16 most of an update would be lost against the weight that it is added to.

    Raises:
        DivergedError: a weight is not finite.
    """
    assert tuned.dtype == torch.float32
    if isinstance(tuned, PreTrainedModel):
        broken = [name for name, weight in tuned.named_parameters() if not weight.isfinite().all()]
        if broken:
            raise DivergedError(f"the trained model cannot be exported: {broken[0]} is not finite")
        return tuned
    assert isinstance(tuned, PeftModel)
    try:
        merged = tuned.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise DivergedError(f"the adapter cannot be merged: {error}") from error
    assert isinstance(merged, PreTrainedModel)
    return merged
