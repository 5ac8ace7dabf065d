"""The base model of the matrix as a folder, because methods load it themselves and what they save goes beside it."""

from pathlib import Path

import pytest
import torch

from tests.unit.workers.training.tiny_run import make_base
from workers.models import load_tokenizer, save_model


@pytest.fixture(scope="session")
def base_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in fp32, with a tokenizer of its vocabulary."""
    folder = tmp_path_factory.mktemp("models") / "base"
    tokenizer = load_tokenizer(tiny_model_dir)
    save_model(make_base(len(tokenizer)), tokenizer, folder, torch.float32)
    return folder
