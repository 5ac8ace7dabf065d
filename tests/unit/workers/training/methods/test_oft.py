"""What is special about OFT: it rotates, and its blocks must fit."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from luthier.spec import OftSpec
from tests.unit.workers.training.methods.rows import LAYERS, ROWS
from tests.unit.workers.training.methods.trained import train
from tests.unit.workers.training.tiny_run import make_base
from workers.failures import ConfigError
from workers.training.methods.oft import add_oft

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(("name", "tolerance"), [("oft-exact", 1e-5), ("oft", 0.05)])
def test_what_was_learnt_is_a_rotation(tmp_path: Path, base_dir: Path, name: str, tolerance: float) -> None:
    rotation = train(ROWS[name], base_dir, tmp_path).model.get_submodule(LAYER).get_delta_weight("default").detach()
    assert (rotation - torch.eye(32)).abs().max().item() > 0.01
    assert (rotation @ rotation.T - torch.eye(32)).abs().max().item() < tolerance


def test_constrained_it_stays_close(tmp_path: Path, base_dir: Path) -> None:
    """The norm of each layer's skew-symmetric blocks is at most eps, here 1 over the root of their number."""
    layer = train(ROWS["oft-constrained"], base_dir, tmp_path).model.get_submodule(LAYER).oft_R["default"]
    layer(torch.zeros(1, 32))  # the projection is part of the forward pass
    assert layer.weight.norm(dim=1).max().item() <= 0.5**0.5 / 2 + 1e-5


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (
            32,
            r"method.oft_block_size 32 does not divide the 48 inputs of .*down_proj; take one of 2, 3, 4, 6, 8, 12, 16",
        ),
        (1024, r"method.oft_block_size 1024 does not divide the 32 inputs of .*q_proj; take one of 2, 4, 8, 16, 32"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(size: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        add_oft(make_base(), OftSpec(type="oft", oft_block_size=size))


def test_layers_that_are_stored_the_other_way_round_are_refused():
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=4))
    with pytest.raises(
        ConfigError, match=r"oft does not rotate transformer\.h\.0\.attn\.c_attn, .*take method\.type: lora"
    ):
        add_oft(model, OftSpec(type="oft", oft_block_size=4))


def test_larger_blocks_fit_where_other_layers_are_left_out() -> None:
    adapted = add_oft(make_base(), OftSpec(type="oft", oft_block_size=32, target_modules=["q_proj"]))
    assert sum(one.numel() for one in adapted.parameters() if one.requires_grad) == LAYERS * (32 * 31 // 2)
