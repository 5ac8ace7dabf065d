"""Whether the rows fit the base model, its context and its vocabulary: looked at before the model is loaded."""

from collections.abc import Iterable
from pathlib import Path

from transformers import AutoConfig

from luthier.planning.attending import window_of
from luthier.spec import MethodSpec, PrefixTuningSpec, PromptTuningSpec
from workers.failures import DataError
from workers.training.samples import Sample


def check_rows(samples: Iterable[Sample], base: Path, method: MethodSpec) -> None:
    """
    Args:
        samples: of all splits.
        base: folder of the base model.
        method: the job's section; virtual tokens take their part of the context.

    Raises:
        DataError: a row is longer than the context or the sliding window, or has a token that the embeddings have no
            row for.
    """
    config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False).get_text_config()
    context = getattr(config, "max_position_embeddings", None) or 0  # 0 and -1: positions have no end
    window = window_of(config.to_dict())
    num_virtual = method.num_virtual_tokens if isinstance(method, PromptTuningSpec | PrefixTuningSpec) else 0
    room = context - num_virtual
    for sample in samples:
        where = sample.origin or f"row {sample.number + 1} of its split"
        if context > 0 and sample.longest > room:
            virtual = f", {num_virtual} of them for method.num_virtual_tokens" if num_virtual else ""
            raise DataError(
                f"{where} has {sample.longest} tokens, and the context of base_model is {context}{virtual}; set "
                f"data.max_length to {max(room, 0)} or less, or take a base_model with a longer context"
            )
        if window is not None and sample.longest + num_virtual > window:
            raise DataError(
                f"{where} has {sample.longest} tokens, and base_model looks back {window} (sliding_window); set "
                f"data.max_length to {max(window - num_virtual, 0)} or less, or take another base_model"
            )
        highest = max((int(document.input_ids.max(initial=0)) for document in sample.documents), default=0)
        if highest >= config.vocab_size:
            raise DataError(
                f"{where} has the token {highest}, and base_model has embeddings for {config.vocab_size} tokens: its "
                f"tokenizer knows more than the model; restore the tokenizer that belongs to base_model, or name the "
                f"further tokens in method.added_tokens"
            )
