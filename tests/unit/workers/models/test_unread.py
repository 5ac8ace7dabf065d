"""Models whose weights are still in their files: what a method sees of them, and what is read."""

import psutil
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from luthier.spec import LoraSpec
from workers.models import load_model
from workers.models.unread import is_unread, load_unread, take_unread
from workers.training.methods.lora import add_lora, load_unless_looked_at

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def folder(tmp_path):
    """A function that saves a tiny model in a dtype, in two files, and returns their folder."""

    def save(dtype, tied=False):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=65,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            tie_word_embeddings=tied,
        )
        LlamaForCausalLM(config).to(dtype).save_pretrained(tmp_path, max_shard_size="50KB")
        return tmp_path

    return save


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("wanted", DTYPES)
def test_each_weight_has_the_values_that_loading_gives_it(folder, stored, wanted):
    path = folder(stored)
    loaded = dict(load_model(path, wanted).named_parameters())
    late = dict(load_unread(path, wanted, CPU).named_parameters())
    assert late.keys() == loaded.keys()
    for name, parameter in late.items():
        assert is_unread(parameter)
        assert (parameter.shape, parameter.dtype) == (loaded[name].shape, loaded[name].dtype)
        assert parameter.untyped_storage().nbytes() == wanted.itemsize, "one number, seen as many"
        behind = take_unread(parameter)
        assert not is_unread(parameter)
        flat = loaded[name].detach().flatten()
        assert torch.equal(behind.read(3, len(flat) - 2).to(wanted), flat[3:-2])


def test_what_is_behind_a_stand_in_are_pages_of_the_file(folder):
    model = load_unread(folder(torch.bfloat16), torch.float32, CPU)
    ranges = [
        tuple(int(end, 16) for end in part.addr.split("-"))
        for part in psutil.Process().memory_maps(grouped=False)
        if part.path.endswith(".safetensors")
    ]
    for parameter in model.parameters():
        address = take_unread(parameter).values.data_ptr()
        assert any(start <= address < end for start, end in ranges)


def test_tied_weights_stay_one_and_buffers_are_made(folder):
    path = folder(torch.bfloat16, tied=True)
    model, loaded = load_unread(path, torch.float32, CPU), load_model(path, torch.float32)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    buffers, expected = dict(model.named_buffers()), dict(loaded.named_buffers())
    assert buffers.keys() == expected.keys()
    assert all(torch.equal(buffers[name], expected[name]) for name in expected)


@pytest.mark.parametrize("start", ["default", "gaussian"])
@pytest.mark.parametrize("wanted", DTYPES[:2])
def test_an_adapter_beside_stand_ins_is_the_adapter_beside_weights(folder, start, wanted):
    path = folder(torch.float32)
    adapters = []
    for model in (load_model(path, wanted), load_unread(path, wanted, CPU)):
        torch.manual_seed(7)
        adapted = add_lora(model, LoraSpec(r=4, init_lora_weights=start))
        adapters.append({name: one for name, one in adapted.named_parameters() if one.requires_grad})
    assert adapters[0].keys() == adapters[1].keys()
    assert all(torch.equal(one, adapters[1][name]) for name, one in adapters[0].items())
    assert any(one.abs().sum() > 0 for one in adapters[1].values())


LOOKING = [
    {"use_dora": True},
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "olora"},
    {"added_tokens": ["<t>"]},
]


@pytest.mark.parametrize("options", LOOKING, ids=str)
def test_lora_that_looks_at_the_weights_gets_them(folder, options):
    path = folder(torch.bfloat16)
    assert all(map(is_unread, load_unless_looked_at(path, torch.bfloat16, CPU, LoraSpec()).parameters()))
    spec = LoraSpec.model_validate(options)
    assert not any(map(is_unread, load_unless_looked_at(path, torch.bfloat16, CPU, spec).parameters()))


def test_weights_of_several_dtypes_are_read(folder):
    path = folder(torch.bfloat16)
    model = load_model(path, torch.float32)
    model.model.layers[0].to(torch.bfloat16)
    model.save_pretrained(path)
    assert not any(map(is_unread, load_unread(path, torch.float32, CPU).parameters()))


def test_an_architecture_that_keeps_some_weights_precise_is_read_where_that_would_be_lost(folder, monkeypatch):
    path = folder(torch.float32)
    assert all(map(is_unread, load_unread(path, torch.bfloat16, CPU).parameters()))
    monkeypatch.setattr(LlamaForCausalLM, "_keep_in_fp32_modules_strict", {"norm"})
    model = load_unread(path, torch.bfloat16, CPU)
    assert not any(map(is_unread, model.parameters()))
    assert (model.model.norm.weight.dtype, model.lm_head.weight.dtype) == (torch.float32, torch.bfloat16)
    assert all(map(is_unread, load_unread(path, torch.float32, CPU).parameters()))
