"""What the families of decoders have in common and where they differ, by `model_type` of config.json.

A family is one row. The names of the parameters are those of transformers, and the tests compare both.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How a family builds its blocks, as far as the config does not say."""

    norms_per_block: int = 2
    """Norms as wide as the model in each block."""
    norms_heads: bool = False
    """Whether queries and keys have a norm of their own, as wide as a head."""
    adds_to_scale: bool = False
    """Whether norms multiply by one more than their scale, so that workers/training/kernels/norms.py leaves them."""
    input_bias: bool | None = None
    """Bias of the query, key and value layers; None: as `attention_bias` says."""
    output_bias: bool | None = None
    """Bias of the output layer of the attention; None: as `attention_bias` says."""
    is_fused: bool = False
    """Whether query, key and value are one layer, and gate and up another."""
    ties_embeddings: bool = False
    """Whether input and output embeddings are one matrix, where the config does not say."""
    head_dim: int | None = None
    """Where the config does not say; None: width / heads."""


FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(input_bias=False, output_bias=False),
    "smollm3": Family(ties_embeddings=True),
    "qwen2": Family(input_bias=True, output_bias=False),
    "qwen3": Family(norms_heads=True, head_dim=128),
    "gemma": Family(adds_to_scale=True, ties_embeddings=True, head_dim=256),
    "gemma2": Family(norms_per_block=4, adds_to_scale=True, ties_embeddings=True, head_dim=256),
    "gemma3_text": Family(norms_per_block=4, norms_heads=True, adds_to_scale=True, ties_embeddings=True, head_dim=256),
    "phi3": Family(input_bias=False, output_bias=False, is_fused=True),
}

NORM_NAMES: dict[int, tuple[str, ...]] = {
    2: ("input_layernorm", "post_attention_layernorm"),
    4: ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"),
}
"""Of a block with that many norms."""
