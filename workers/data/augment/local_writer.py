"""A `Writer` on this worker: a causal language model that answers in batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError

from luthier.spec.data.augment import WriterSpec
from workers.data.augment.writer import Reply, Request
from workers.data.tokens.render import render_prompt
from workers.evaluation.generate import Choose, Decoding, answer_batch, likeliest
from workers.failures import ConfigError
from workers.models import choose_device, load_model, load_tokenizer
from workers.models.teacher import context_of


class LocalWriter:
    """Holds the model until it is let go of."""

    answers_one_by_one = False

    def __init__(self, folder: Path, spec: WriterSpec) -> None:
        """`folder` is one that `resolve_base_model` returned.

        Raises:
            ConfigError: its tokenizer has no chat template to ask it by.
        """
        self._spec = spec
        self._tokenizer = load_tokenizer(folder)
        if not self._tokenizer.chat_template:
            raise ConfigError(
                f"data.augment.writer.model {spec.model!r} has no chat template, so it cannot be asked anything; name "
                "an instruct model"
            )
        self._context = context_of(folder)
        device = choose_device()
        # Not the dtype that is fastest here: the same job must give the same rows wherever it runs.
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        self._model: Any = load_model(folder, dtype).to(device)  # type: ignore[arg-type]  # wrapper hides the signature
        self._decoding = Decoding.of(self._model, self._tokenizer, spec.max_new_tokens)

    def write(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """All answers at once; one that does not fit into what the model can read is empty and cut off."""
        prompts = [self._prompt(request) for request in requests]
        fitting = [prompt for prompt in prompts if prompt is not None]
        choose = _choice(self._spec, [request.seed for request in requests], self._model.device)
        said = iter(answer_batch(self._model, fitting, self._decoding, choose) if fitting else [])
        for prompt in prompts:
            if prompt is None:
                yield Reply("", 0, is_whole=False)
                continue
            ids = next(said)
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            yield Reply(str(text), len(prompt) + len(ids), is_whole=ids[-1] in self._decoding.stop_ids)

    def _prompt(self, request: Request) -> list[int] | None:
        try:
            ids = render_prompt(self._tokenizer, [{"role": "user", "content": request.prompt}])
        except TemplateError as error:
            raise ConfigError(
                f"the chat template of data.augment.writer.model refuses a question: {error}; name another model"
            ) from error
        is_too_long = self._context is not None and len(ids) + self._spec.max_new_tokens > self._context
        return None if is_too_long else ids


def _choice(spec: WriterSpec, seeds: Sequence[int], device: torch.device) -> Choose:
    """How the next token is chosen in one batch."""
    if spec.temperature == 0:
        return likeliest
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    generator = torch.Generator(device).manual_seed(seed)

    def drawn(logits: torch.Tensor) -> torch.Tensor:
        weights = (logits.float() / spec.temperature).softmax(-1)
        return torch.multinomial(weights, 1, generator=generator)[:, 0]

    return drawn
