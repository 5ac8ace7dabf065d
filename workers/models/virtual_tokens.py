"""A PEFT model whose adapter is virtual tokens (prompt or prefix tuning), opened to what our forward passes need.

PEFT puts the virtual tokens before a row. Here a row may be many documents, each of which has to see them; or it may
be padded on the left or continue a cache, where PEFT would put them again, or at wrong positions. So:
- a row of documents has them as what all documents begin with: as a piece of the shared prefix (prompt tuning), or as
  keys and values before those of every document (prefix tuning);
- any other row finds them in the cache, as tokens that have been read already.
In both the real tokens stand at positions from their number on, as PEFT has it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel, PeftType
from transformers import Cache, DynamicCache

from workers.training.layout import Documents, behind_shared_tokens


def open_virtual_tokens(model: PeftModel) -> PeftModel:
    """Gives `model` the forward pass that this module describes, if its adapter is virtual tokens. Returns it.

    `model.disable_adapter()` leads past it, as past PEFT's own.
    """
    if model.active_peft_config.is_prompt_learning:

        def forward(*, documents: Documents | None = None, **inputs: Any) -> Any:
            return _continue_cache(model, **inputs) if documents is None else _documents(model, documents, **inputs)

        model.forward = forward  # type: ignore[method-assign]
    return model


def _documents(
    model: PeftModel,
    documents: Documents,
    *,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    logits_to_keep: torch.Tensor,
    **inputs: Any,
) -> Any:
    number = model.active_peft_config.num_virtual_tokens
    prompt: Any = model.get_prompt(1)
    positions = position_ids + number
    base: Any = model.get_base_model()
    if _is_prefix(model):
        return base(
            input_ids=input_ids,
            position_ids=positions,
            documents=documents,
            virtual=_pairs(prompt),
            logits_to_keep=logits_to_keep,
            **inputs,
        )
    embeddings = base.get_input_embeddings()(input_ids)
    return base(
        inputs_embeds=torch.cat([prompt.to(embeddings.dtype), embeddings], dim=1),
        position_ids=torch.cat([torch.arange(number, device=positions.device)[None], positions], dim=1),
        documents=behind_shared_tokens(documents, number),
        logits_to_keep=logits_to_keep + number,
        **inputs,
    )


def _continue_cache(
    model: PeftModel,
    *,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    past_key_values: Cache | None = None,
    **inputs: Any,
) -> Any:
    number = model.active_peft_config.num_virtual_tokens
    if past_key_values is None:
        past_key_values = _cache(model, len(input_ids))
    if attention_mask is not None:
        attention_mask = torch.cat([attention_mask.new_ones(len(attention_mask), number), attention_mask], dim=1)
    return model.get_base_model()(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=None if position_ids is None else position_ids + number,
        past_key_values=past_key_values,
        **inputs,
    )


def _cache(model: PeftModel, num_rows: int) -> Cache:
    """What the virtual tokens leave in the cache of so many rows."""
    prompt: Any = model.get_prompt(num_rows)
    if _is_prefix(model):
        assert isinstance(prompt, Cache)
        return prompt
    base: Any = model.get_base_model()
    read = DynamicCache(config=base.config)
    embeddings = prompt.to(base.get_input_embeddings().weight.dtype)
    base.base_model(inputs_embeds=embeddings, past_key_values=read, use_cache=True)  # past the output layer or head
    return read


def _pairs(cache: Any) -> Sequence[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer, [1, key heads, virtual tokens, head_dim] each."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def _is_prefix(model: PeftModel) -> bool:
    return bool(model.active_peft_config.peft_type == PeftType.PREFIX_TUNING)
