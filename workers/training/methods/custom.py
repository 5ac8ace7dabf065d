"""A method of the user's own: one function that makes a base model trainable. What it may be stands in
workers/models/custom.py, and how to write one in docs/custom-methods.md.
"""

from pathlib import Path

from transformers import PreTrainedModel

from luthier.settings import WorkerSettings
from luthier.spec import CustomSpec
from workers.failures import ConfigError
from workers.models.custom import METHOD_FUNCTIONS, CustomConfig, adapt_by, save_custom
from workers.models.tuned import ADAPTER

_CONFIG = "luthier_custom_config"


def allow_custom(spec: CustomSpec, settings: WorkerSettings) -> None:
    """
    Raises:
        ConfigError: this worker does not run that function.
    """
    METHOD_FUNCTIONS.check_allowed(spec.entry_point, settings.custom_methods)


def adapt_custom(model: PreTrainedModel, spec: CustomSpec) -> PreTrainedModel:
    """The model as the function leaves it, what it trains in fp32.

    Raises:
        ConfigError: see `adapt_by`; or the function leaves nothing to train.
    """
    config = CustomConfig(spec.entry_point, spec.options)
    adapted = adapt_by(config, model)
    if not any(parameter.requires_grad for parameter in adapted.parameters()):
        raise ConfigError(
            f"method.entry_point {spec.entry_point!r} leaves no parameter with requires_grad; set it on what is to be "
            f"trained"
        )
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    setattr(adapted, _CONFIG, config)
    return adapted


def save_adapter(model: PreTrainedModel, _: Path, folder: Path) -> None:
    """Writes `adapter/`, as `workers.models.tuned` loads it."""
    save_custom(model, getattr(model, _CONFIG), folder / ADAPTER)
