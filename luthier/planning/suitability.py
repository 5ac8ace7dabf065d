"""What a model's config.json rules out in a job file: said by `luthier plan` and at submit, before anything is loaded.

Workers refuse the same once they have the model. Of a family without arithmetic only its kind is looked at here.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.planning.attending import reason_against_attention, window_of
from luthier.planning.methods.targets import is_named
from luthier.planning.shape import Linear, ModelShape, UnknownModelError, read_shape
from luthier.spec import GrpoSpec, JobSpec

_ALL_LINEAR, _AUTO = "all-linear", "auto"


class UnsuitableError(InvalidRequestError):
    """The job cannot run with its base model."""


def check_suits(spec: JobSpec, config: Mapping[str, Any], longest: int | None = None) -> None:
    """
    Args:
        spec: the job.
        config: config.json of its base model.
        longest: tokens of the longest row, where the data is known.

    Raises:
        UnsuitableError: the job cannot run with this model; names the field, the reason and the remedy.
    """
    if spec.merge is not None:
        return
    reason = reason_against(config)
    if reason is None and not isinstance(spec.objective, GrpoSpec):
        reason = reason_against_attention(config)
        _check_window(config, longest)
    if reason is not None:
        raise UnsuitableError(f"base_model {spec.base_model!r} {reason}")
    try:
        shape = read_shape(config)
    except UnknownModelError:
        return
    if longest is not None and longest > shape.context:
        raise UnsuitableError(
            f"the longest row has {longest} tokens, more than the context of base_model ({shape.context}); set "
            f"data.max_length to {shape.context} or less"
        )
    if spec.method.type in _CHECKS:
        _CHECKS[spec.method.type](shape, spec.method)


def _check_window(config: Mapping[str, Any], longest: int | None) -> None:
    window = window_of(config)
    if longest is not None and window is not None and longest > window:
        raise UnsuitableError(
            f"the longest row has {longest} tokens, and base_model looks back {window} (sliding_window); set "
            f"data.max_length to {window} or less, or give another base_model"
        )


def reason_against(config: Mapping[str, Any]) -> str | None:
    """Why a model with that config.json cannot be trained here, and what to do; None: nothing speaks against it."""
    architectures = [str(name) for name in config.get("architectures") or []]
    if config.get("is_encoder_decoder") or any(name.endswith("ForMaskedLM") for name in architectures):
        kind = ", ".join(architectures) or str(config.get("model_type", ""))
        return (
            f"({kind}) has an encoder, which reads in both directions; every method and objective here needs a causal "
            f"language model: give another base_model"
        )
    quantisation = config.get("quantization_config")
    if isinstance(quantisation, Mapping):
        method = quantisation.get("quant_method", "unknown")
        return (
            f"is quantised already ({method}), and what is trained beside such weights cannot be merged or checked; "
            f"give the model it was made from, with method.type: qlora to hold it in 4 bits"
        )
    return None


def did_you_mean(wanted: str, known: Sequence[str]) -> str:
    """The remedy for a name that is none of `known`."""
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "name some of these"


def _targets(shape: ModelShape, wanted: str | list[str]) -> list[Linear]:
    layers = list(shape.linears())
    if wanted == _ALL_LINEAR:
        return layers
    layers.append(Linear("lm_head", shape.hidden, shape.vocabulary))
    kinds = list(dict.fromkeys(part.name.rpartition(".")[2] for part in layers))
    for one in [wanted] if isinstance(wanted, str) else wanted:
        if not any(is_named(part.name, one if isinstance(wanted, str) else [one]) for part in layers):
            raise UnsuitableError(
                f"method.target_modules {one!r} fits no linear layer of base_model, which has {', '.join(kinds)}; "
                f"{did_you_mean(one, kinds)}"
            )
    return [part for part in layers if is_named(part.name, wanted)]


def _rank_of(field: str) -> Callable[[ModelShape, Any], None]:
    """The check of a method whose `field` is a rank."""

    def check(shape: ModelShape, section: Any) -> None:
        rank = getattr(section, field)
        for part in _targets(shape, section.target_modules):
            room = min(part.num_in, part.num_out)
            if rank > room:
                raise UnsuitableError(
                    f"method.{field} {rank} is above the size of {part.name}, which is {part.num_out} x "
                    f"{part.num_in}; set method.{field} to {room} or less, or leave that layer out of "
                    f"method.target_modules"
                )

    return check


def _spiel(shape: ModelShape, section: Any) -> None:
    for part in _targets(shape, section.target_modules):
        most = part.num_out * part.num_in // (part.num_out + part.num_in)
        if section.r > most:
            raise UnsuitableError(
                f"method.r {section.r} asks for more changed weights than {part.name} has, which is {part.num_out} x "
                f"{part.num_in}; set method.r to {most} or less, or leave that layer out of method.target_modules"
            )


def _oft(shape: ModelShape, section: Any) -> None:
    size = section.oft_block_size
    for part in _targets(shape, section.target_modules):
        if part.num_in % size:
            raise UnsuitableError(
                f"method.oft_block_size {size} does not divide the {part.num_in} inputs of {part.name}; take another, "
                f"or leave that layer out of method.target_modules"
            )


def _ia3(shape: ModelShape, section: Any) -> None:
    if section.target_modules != _AUTO:
        _targets(shape, section.target_modules)


def _freeze(shape: ModelShape, section: Any) -> None:
    if section.num_trainable_layers > shape.num_layers:
        raise UnsuitableError(
            f"method.num_trainable_layers is {section.num_trainable_layers}, and base_model has {shape.num_layers} "
            f"blocks; lower it, or take method.type: full"
        )


def _bottleneck(shape: ModelShape, section: Any) -> None:
    if section.bottleneck_size >= shape.hidden:
        raise UnsuitableError(
            f"method.bottleneck_size {section.bottleneck_size} is no bottleneck of base_model, whose width is "
            f"{shape.hidden}; lower it"
        )


def _virtual_tokens(shape: ModelShape, section: Any) -> None:
    if section.num_virtual_tokens >= shape.context:
        raise UnsuitableError(
            f"method.num_virtual_tokens {section.num_virtual_tokens} leaves no room for text in the context of "
            f"base_model, which has {shape.context} tokens; lower it"
        )


_CHECKS: dict[str, Callable[[ModelShape, Any], None]] = {
    "lora": _rank_of("r"),
    "qlora": _rank_of("r"),
    "adalora": _rank_of("init_r"),
    "spiel": _spiel,
    "oft": _oft,
    "ia3": _ia3,
    "freeze": _freeze,
    "bottleneck": _bottleneck,
    "prompt_tuning": _virtual_tokens,
    "prefix_tuning": _virtual_tokens,
}
"""By `method.type`: what of its section the model's sizes rule out."""
