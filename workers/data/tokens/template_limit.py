"""What a stage says of a chat template that takes more than a rendering may: whose it is, and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import PreTrainedTokenizerBase

from workers.export.triton_backend.template_work import TemplateLimitError
from workers.failures import ConfigError


@contextmanager
def naming_template(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """
    Raises:
        ConfigError: the tokenizer's template was stopped. It fails the stage and not the row: each row that meets it
            takes seconds.
    """
    try:
        yield
    except TemplateLimitError as error:
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path} was stopped: {error}; look there for loops, for texts and "
            "lists that grow or are repeated, for widths and for macros that call themselves, and correct "
            "data.chat_template, or use another base_model"
        ) from error
