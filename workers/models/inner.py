"""What is inside a model that a method has changed."""

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel


def inner_model(model: nn.Module) -> PreTrainedModel:
    """The model of transformers that PEFT's adapter is put around, or `model` itself where there is none."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(inner, PreTrainedModel)
    return inner
