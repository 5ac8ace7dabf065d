"""A head in place of an output layer, and the output layer back in its place."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from workers.models.unread import load_unread
from workers.training.distributed.strategies.late import set_aside
from workers.training.heads import put_back, put_head


@pytest.mark.parametrize("tied", [False, True])
def test_an_output_layer_that_no_rank_had_a_part_of_is_whole_when_it_is_back(tmp_path: Path, tied: bool) -> None:
    """Its weight was still in its file when it was taken out; a tied one is that of the embeddings after training."""
    config = LlamaConfig(
        vocab_size=65, hidden_size=32, intermediate_size=48, num_hidden_layers=1, tie_word_embeddings=tied
    )
    source = LlamaForCausalLM(config)
    source.save_pretrained(tmp_path)
    model = load_unread(tmp_path, torch.float32, torch.device("cpu"))
    replaced = put_head(model, 2)
    set_aside(model)
    trained = nn.Parameter(torch.randn(65, 32))
    model.get_input_embeddings().weight = trained
    put_back(model, replaced)
    output = model.get_output_embeddings()
    assert output is replaced
    assert torch.equal(output.weight, trained if tied else source.lm_head.weight)
    assert (output.weight is trained) == tied
