"""Linear layers, whichever way round an architecture stores their weights."""

from torch import nn
from transformers.pytorch_utils import Conv1D


def shape_of(layer: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a linear layer."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    assert isinstance(layer, Conv1D)
    num_inputs, num_outputs = layer.weight.shape
    return num_outputs, num_inputs
