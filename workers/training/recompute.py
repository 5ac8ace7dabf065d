"""Activation checkpointing: what a layer computed is computed again in the backward pass instead of being kept.

Chen et al., 2016, arXiv:1604.06174. Full keeps only what goes into each layer, for about a third more time. Selective
does so with every second layer: half the saving for half the time. The random generators are set back for the second
time, so dropout is the same, and so is every bit of the gradient.
"""

from peft import PeftModel, PeftType
from torch import nn

from workers.failures import ConfigError
from workers.models.inner import inner_model

# Every how many layers.
_STRIDES = {"full": 1, "selective": 2}


def recompute_activations(model: nn.Module, how: str) -> None:
    """Lets the layers of `model` do it in training mode.

    Args:
        model: as the method left it.
        how: `none`, `selective` or `full`.

    Raises:
        ConfigError: this model or method cannot.
    """
    if how == "none":
        return
    if isinstance(model, PeftModel) and model.active_peft_config.peft_type == PeftType.PREFIX_TUNING:
        raise ConfigError(
            "training.gradient_checkpointing drops the keys and values that a prefix consists of; set it to none"
        )
    base = inner_model(model)
    if not base.supports_gradient_checkpointing:
        raise ConfigError(
            f"base_model ({type(base).__name__}) cannot compute activations again; "
            f"set training.gradient_checkpointing: none"
        )
    base.activation_checkpointing_enable({"use_reentrant": False}, every_n_layers=_STRIDES[how])
    # Only reentrant checkpoints need it; with frozen embeddings it would carry the gradient one layer too far.
    base.disable_input_require_grads()  # type: ignore[no-untyped-call]
