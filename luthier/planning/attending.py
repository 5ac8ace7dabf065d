"""What a model's config.json says of how its tokens look at each other, and which of that the training computes.

Training puts rows end to end and keeps them apart in the attention (workers/training/attention.py), so a model must let
its attention be computed there and mix tokens nowhere else. Workers ask the loaded model itself
(workers/training/isolation.py); what is said here is what can be known before. `grpo` is left out of it: its loop pads.
"""

from collections.abc import Mapping
from typing import Any

_REMEDY = "give a base_model of another family, such as llama, qwen3 or gpt_neox"
_OF_ITS_OWN = frozenset(
    {
        *("bloom", "codegen", "cpmant", "falcon", "gpt_neo", "gpt_neox_japanese", "gptj", "mpt", "nemotron"),
        *("openai-gpt", "recurrent_gemma", "stablelm", "xglm", "xlnet"),
    }
)
"""`model_type`s whose attention transformers 5 computes in a way of their own."""
_RECURRENT = frozenset(
    {
        *("bailing_hybrid", "bamba", "falcon_h1", "falcon_mamba", "jamba", "kimi_linear", "mamba", "mamba2"),
        *("nemotron_h", "olmo_hybrid", "rwkv", "xlstm", "zamba", "zamba2"),
    }
)
"""`model_type`s with layers that hand a state from token to token, whatever their config says of its layers."""
_WINDOWED = frozenset(
    {"cohere2", "gemma2", "gemma3_text", "ministral", "mistral", "mixtral", "olmo3", "phi3", "starcoder2"}
)
"""`model_type`s that have a window wherever `sliding_window` is set."""


def reason_against_attention(config: Mapping[str, Any]) -> str | None:
    """Why rows of such a model cannot be kept apart, and what to do; None: nothing speaks against it."""
    text = _text_of(config)
    kind = str(text.get("model_type", ""))
    others = sorted({str(layer) for layer in text.get("layer_types") or [] if _mixes_otherwise(str(layer))})
    if kind in _RECURRENT or others:
        through = f" ({', '.join(others)})" if others else ""
        return (
            f"(model_type {kind!r}) has layers other than attention{through}, through which the rows of a pass would "
            f"see each other; {_REMEDY}"
        )
    if kind in _OF_ITS_OWN:
        return (
            f"(model_type {kind!r}) computes its attention in a way of its own, so that the rows of a pass could not "
            f"be kept apart; {_REMEDY}"
        )
    if kind == "gpt_oss" or (kind == "gemma2" and text.get("attn_logit_softcapping", 50.0) is not None):
        what = "attention sinks" if kind == "gpt_oss" else "soft-capped scores"
        return f"(model_type {kind!r}) attends with {what}, which the training does not know; {_REMEDY}"
    return None


def window_of(config: Mapping[str, Any]) -> int | None:
    """How far back tokens of some layer look at most, where that is known; rows may not be longer."""
    text = _text_of(config)
    layers = text.get("layer_types")
    is_windowed = text.get("model_type") in _WINDOWED and (layers is None or "sliding_attention" in layers)
    window = text.get("sliding_window") if is_windowed else None
    return window if isinstance(window, int) and window > 0 else None


def _text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of the config that is of the language model."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def _mixes_otherwise(layer: str) -> bool:
    return not layer.endswith("attention") or layer == "linear_attention"
