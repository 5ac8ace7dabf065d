"""The shape of a decoder, read from config.json as plain JSON: every parameter by name, without loading anything.

Refuses what it does not know instead of guessing: another family, experts, a key that is missing.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.planning.families import FAMILIES, NORM_NAMES, Family

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


class UnknownModelError(InvalidRequestError):
    """There is no arithmetic for this model."""


@dataclass(frozen=True)
class Linear:
    """One linear layer."""

    name: str
    """Of the module, as transformers calls it."""
    num_in: int
    num_out: int
    has_bias: bool = False


@dataclass(frozen=True)
class ModelShape:
    """A decoder with gated MLPs and grouped-query attention. All sizes in numbers of elements."""

    family: str
    hidden: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    is_tied: bool
    input_bias: bool
    output_bias: bool
    mlp_bias: bool
    context: int
    """Longest row in tokens."""
    stored_bytes: int
    """Of one weight on disk."""

    @property
    def query_width(self) -> int:
        """All heads side by side."""
        return self.num_heads * self.head_dim

    @property
    def key_width(self) -> int:
        """All key heads side by side; values are as wide."""
        return self.num_kv_heads * self.head_dim

    def block_linears(self, layer: int) -> tuple[Linear, ...]:
        """The linear layers of block `layer`."""
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        queries, keys, inner = self.query_width, self.key_width, self.intermediate
        output = Linear(f"{attention}.o_proj", queries, self.hidden, self.output_bias)
        down = Linear(f"{mlp}.down_proj", inner, self.hidden, self.mlp_bias)
        if self._traits.is_fused:
            return (
                output,
                Linear(f"{attention}.qkv_proj", self.hidden, queries + 2 * keys, self.input_bias),
                Linear(f"{mlp}.gate_up_proj", self.hidden, 2 * inner, self.mlp_bias),
                down,
            )
        return (
            Linear(f"{attention}.q_proj", self.hidden, queries, self.input_bias),
            Linear(f"{attention}.k_proj", self.hidden, keys, self.input_bias),
            Linear(f"{attention}.v_proj", self.hidden, keys, self.input_bias),
            output,
            Linear(f"{mlp}.gate_proj", self.hidden, inner, self.mlp_bias),
            Linear(f"{mlp}.up_proj", self.hidden, inner, self.mlp_bias),
            down,
        )

    def linears(self) -> Iterator[Linear]:
        """Every linear layer of the blocks, from the input to the output; the output layer is not among them."""
        for layer in range(self.num_layers):
            yield from self.block_linears(layer)

    def block_parameters(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters of block `layer`, by name."""
        found: dict[str, tuple[int, ...]] = {}
        for linear in self.block_linears(layer):
            found[f"{linear.name}.weight"] = (linear.num_out, linear.num_in)
            if linear.has_bias:
                found[f"{linear.name}.bias"] = (linear.num_out,)
        if self._traits.norms_heads:
            for name in ("q_norm", "k_norm"):
                found[f"model.layers.{layer}.self_attn.{name}.weight"] = (self.head_dim,)
        for name in NORM_NAMES[self._traits.norms_per_block]:
            found[f"model.layers.{layer}.{name}.weight"] = (self.hidden,)
        return found

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all parameters, by name. A matrix that is used twice is there once."""
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, self.hidden)}
        for layer in range(self.num_layers):
            found |= self.block_parameters(layer)
        found["model.norm.weight"] = (self.hidden,)
        if not self.is_tied:
            found["lm_head.weight"] = (self.vocabulary, self.hidden)
        return found

    @cached_property
    def num_parameters(self) -> int:
        """Of the whole model."""
        return sum(math.prod(size) for size in self.parameters().values())

    @cached_property
    def num_block_parameters(self) -> int:
        """Of all blocks; they are equal."""
        return self.num_layers * sum(math.prod(size) for size in self.block_parameters(0).values())

    @cached_property
    def num_matrix_parameters(self) -> int:
        """Of the blocks' linear layers, without biases."""
        return sum(part.num_in * part.num_out for part in self.linears())

    @property
    def num_norms(self) -> int:
        """Norms as wide as the model in one block."""
        return self._traits.norms_per_block

    @property
    def num_normed_heads(self) -> int:
        """Heads of queries and of keys that have a norm of their own, in one block."""
        return self.num_heads + self.num_kv_heads if self._traits.norms_heads else 0

    @property
    def is_fused(self) -> bool:
        """Whether query, key and value come out of one layer, and gate and up out of another."""
        return self._traits.is_fused

    @property
    def adds_to_scale(self) -> bool:
        """Whether norms multiply by one more than their scale."""
        return self._traits.adds_to_scale

    @property
    def _traits(self) -> Family:
        return FAMILIES[self.family]


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape that a config.json describes.

    Raises:
        UnknownModelError: naming what is not known of it.
    """
    name = str(config.get("model_type", ""))
    if name not in FAMILIES:
        raise UnknownModelError(
            f"no arithmetic for model_type {name!r}; known are {', '.join(FAMILIES)}. The job runs all the same"
        )
    experts = [key for key in _EXPERTS if config.get(key)]
    if experts:
        raise UnknownModelError(f"no arithmetic for models with experts ({experts[0]}). The job runs all the same")
    family = FAMILIES[name]
    hidden, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    bias = bool(config.get("attention_bias", False))
    return ModelShape(
        family=name,
        hidden=hidden,
        num_layers=_size(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=int(config.get("num_key_value_heads") or heads),
        head_dim=int(config.get("head_dim") or family.head_dim or hidden // heads),
        intermediate=_size(config, "intermediate_size"),
        vocabulary=_size(config, "vocab_size"),
        is_tied=bool(config.get("tie_word_embeddings", family.ties_embeddings)),
        input_bias=bias if family.input_bias is None else family.input_bias,
        output_bias=bias if family.output_bias is None else family.output_bias,
        mlp_bias=bool(config.get("mlp_bias", False)),
        context=_size(config, "max_position_embeddings"),
        stored_bytes=2 if str(config.get("dtype") or config.get("torch_dtype")) in ("bfloat16", "float16") else 4,
    )


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise UnknownModelError(f"config.json has no {key}, so the model's size is not known; complete the file")
    return value
