"""The one rendering of a conversation: training, evaluation and parity all use these functions.

A string that spells a control token is that token, wherever it stands, as in serving.
"""

import json
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from workers.data.tokens.arguments import for_template
from workers.data.tokens.template_limit import naming_template
from workers.export.triton_backend.chat_template import RENDERING_FAULTS, render_template
from workers.failures import ConfigError


def render_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, Any]], tools: str | None = None
) -> list[int]:
    """Token ids of the conversation so far, by the chat template, with the head of the answer to come."""
    return token_ids(tokenizer, render_texts(tokenizer, [messages], add_generation_prompt=True, tools=[tools]))[0]


def render_texts(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[dict[str, Any]]],
    *,
    add_generation_prompt: bool,
    tools: Sequence[str | None] | None = None,
) -> list[str]:
    """What the chat template makes of each conversation.

    `tools` are `Notes.tools` of each; None: nobody has any.

    Raises:
        jinja2.TemplateError: the template refuses one of them.
        ConfigError: it takes more than a rendering may.
    """
    places: dict[str | None, list[int]] = {}
    for place, offered in enumerate(tools or [None] * len(conversations)):
        places.setdefault(offered, []).append(place)
    texts = [""] * len(conversations)
    tokens = tokenizer.special_tokens_map
    for offered, own in places.items():
        schemas = None if offered is None else json.loads(offered)
        try:
            source = tokenizer.get_chat_template(tools=schemas)
            with naming_template(tokenizer):
                for place in own:
                    texts[place] = render_template(
                        source,
                        for_template(tokenizer, conversations[place]),
                        schemas,
                        tokens,
                        add_generation_prompt=add_generation_prompt,
                    )
        except RENDERING_FAULTS as error:
            raise TemplateError(f"it cannot work with this row: {error}") from error
    return texts


def token_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special: bool = False
) -> list[list[int]]:
    """Token ids of each text, neither padded nor truncated; `add_special` adds what the tokenizer adds by itself."""
    backend = plain_backend(tokenizer)
    return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=add_special)]


def plain_backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The fast tokenizer without the truncation and padding that its tokenizer.json may ask for."""
    backend: Tokenizer = tokenizer.backend_tokenizer
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return backend


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, *, for_chat: bool) -> None:
    """Makes sure that rows can be rendered and tokenised in batches.

    Raises:
        ConfigError: it has no fast implementation, or no chat template although one is needed.
    """
    if not tokenizer.is_fast:
        raise ConfigError(
            f"the tokenizer of {tokenizer.name_or_path} has no tokenizer.json; use a base_model that has one"
        )
    if for_chat and not tokenizer.chat_template:
        raise ConfigError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template, and the rows are conversations; use an "
            f"instruct model as base_model, give data.chat_template, or give rows with text"
        )
    if for_chat and _drops_answers(tokenizer):
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path} leaves out what the assistant says, so there is nothing to "
            f"learn; give data.chat_template, or use another base_model"
        )


def _drops_answers(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a plain answer is lost. What the template refuses is not: rows may be of the kind that it takes."""
    exchange = [{"role": "user", "content": "luthier question"}, {"role": "assistant", "content": "luthier answer"}]
    try:
        return "luthier answer" not in render_texts(tokenizer, [exchange], add_generation_prompt=False)[0]
    except TemplateError:
        return False
