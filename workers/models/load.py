"""Loads a checked model folder, and saves one: safetensors, local files, no code of others."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder that `resolve_base_model` returned or `export` wrote. It has a padding token."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        # Only ever attended to through a mask, so any known token will do.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The causal language model of such a folder, in evaluation mode, weights in `dtype`, on the CPU."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    model.eval()  # type: ignore[no-untyped-call]
    return model


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, out: Path, dtype: torch.dtype) -> None:
    """Saves weights in `dtype`, config, generation config and tokenizer. Casts `model` in place.

    Raises:
        OSError, SafetensorError: `out` cannot be written; both say so when the disk is full.
    """
    model.to(dtype)  # type: ignore[arg-type]  # the wrapper of transformers hides the signature
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that the config of such a folder names for its weights; float32 when it names none."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return config.dtype or torch.float32


def stop_token_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Every token that ends an answer: those of the generation config, which may list several, and the tokenizer's."""
    found: set[int] = set()
    for ids in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        found.update(ids if isinstance(ids, list) else [ids] if ids is not None else [])
    return frozenset(found)


def choose_device() -> torch.device:
    """The accelerator if this process sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
