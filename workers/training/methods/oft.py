"""OFT through PEFT: W R x with W frozen and R orthogonal (Qiu et al., 2023, arXiv:2306.07280).

R is the Cayley transform of skew-symmetric blocks, whose upper triangles are what is trained.
"""

from peft import OFTConfig, PeftModel
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.spec import OftSpec
from workers.failures import ConfigError
from workers.models.linear import shape_of
from workers.training.methods.adapter import attach
from workers.training.methods.targets import peft_targets, target_layers


def add_oft(model: PreTrainedModel, spec: OftSpec) -> PeftModel:
    """Freezes `model` and adds rotations by nothing.

    Raises:
        ConfigError: `target_modules` names a layer that the model does not have or that PEFT does not rotate, or
            `oft_block_size` does not divide the inputs of one. PEFT would take another size without a word.
    """
    layers = target_layers(model, spec.target_modules)
    size = spec.oft_block_size
    for name, layer in layers.items():
        if isinstance(layer, Conv1D):
            raise ConfigError(
                f"method.type oft does not rotate {name}, which models of type {model.config.model_type} store the "
                f"other way round (Conv1D); take method.type: lora, or another base_model"
            )
        _, num_inputs = shape_of(layer)
        if num_inputs % size:
            known = [str(other) for other in range(2, min(num_inputs, 1024) + 1) if num_inputs % other == 0]
            raise ConfigError(
                f"method.oft_block_size {size} does not divide the {num_inputs} inputs of {name}; take one of "
                f"{', '.join(known)}, or leave that layer out of method.target_modules"
            )
    config = OFTConfig(
        task_type="CAUSAL_LM",
        oft_block_size=size,
        target_modules=peft_targets(spec.target_modules, layers),
        block_share=spec.block_share,
        coft=spec.coft,
        eps=spec.eps,
        use_cayley_neumann=spec.use_cayley_neumann,
        num_cayley_neumann_terms=spec.num_cayley_neumann_terms,
    )
    return attach(model, config)
