"""What rows are like by a model of the job's own: `Features` for `data.select.influence.embedding_model`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel

from workers.failures import ConfigError
from workers.models import choose_device, load_tokenizer

_MAX_TOKENS = 256
_BATCH_ROWS = 16


class Embeddings:
    """The mean of a transformer's last hidden states over the first 256 tokens."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            ConfigError: the folder holds no model that can be loaded without code of its own.
        """
        try:
            self._tokenizer = load_tokenizer(folder)
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            cause = str(error).splitlines()[0]
            raise ConfigError(
                f"data.select.influence.embedding_model {str(folder)!r} cannot be loaded: {cause}; give a folder as "
                "save_pretrained writes it, with safetensors and a tokenizer"
            ) from error
        self._model: Any = model.to(choose_device()).eval()

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape [texts, hidden size]."""
        parts = [self._embed(texts[start : start + _BATCH_ROWS]) for start in range(0, len(texts), _BATCH_ROWS)]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        # An empty text has no token in some tokenizers, and so no mean.
        batch = self._tokenizer(
            [text or " " for text in texts], padding=True, truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        ).to(self._model.device)
        states = self._model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        vectors: npt.NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return vectors
