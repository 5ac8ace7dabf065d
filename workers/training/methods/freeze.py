"""Layer freezing: the blocks next to the output are trained, those next to the input keep what they know.

Below the first trained block nothing is kept for the backward pass, so that it costs neither memory nor time.
"""

from transformers import PreTrainedModel

from luthier.spec import FreezeSpec
from workers.failures import ConfigError
from workers.training.methods.blocks import blocks_of, find_modules, names_of_parameters


def select_layers(model: PreTrainedModel, spec: FreezeSpec) -> set[str]:
    """The parameters of the last blocks, of the named modules, and of the embeddings if they are wanted.

    Raises:
        ConfigError: the model has fewer blocks, or no module of such a name.
    """
    blocks = blocks_of(model)
    if spec.num_trainable_layers > len(blocks):
        raise ConfigError(
            f"method.num_trainable_layers is {spec.num_trainable_layers}, and base_model has {len(blocks)} blocks"
        )
    modules = blocks[len(blocks) - spec.num_trainable_layers :]
    modules += find_modules(model, spec.trainable_modules).values() if spec.trainable_modules else []
    modules += [model.get_input_embeddings()] if spec.train_embeddings else []
    return names_of_parameters(model, modules)
