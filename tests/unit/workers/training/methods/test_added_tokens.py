"""Tokens that a job adds: only their rows are trained, and they come out with the model that learned them."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.spec import LoraSpec, QloraSpec
from tests.unit.workers.training.methods.rows import WIDTH, lora
from tests.unit.workers.training.tiny_run import Recorder, make_documents, make_engine, weights
from workers.export.merge import merge
from workers.export.peft import write_peft
from workers.models.extend import with_added_tokens
from workers.models.tuned import ADAPTER, load_tuned
from workers.training.methods import METHODS

TOKENS = ["<ticket>", "<urgent>"]
CPU, FP32 = torch.device("cpu"), torch.float32
SPECS = {
    "lora": LoraSpec(r=4, added_tokens=TOKENS),
    "qlora": QloraSpec(type="qlora", r=4, added_tokens=TOKENS),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize(("tied", "num_layers"), [(True, 1), (False, 2)])
def test_only_the_new_rows_are_trained_and_every_export_has_them(
    tiny_model_dir: Path, base_dir: Path, tmp_path: Path, name: str, tied: bool, num_layers: int
) -> None:
    plain = tiny_model_dir if tied else base_dir
    base = with_added_tokens(plain, TOKENS, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = tokenizer.convert_tokens_to_ids(TOKENS)
    method, spec = METHODS[name], SPECS[name]
    model = method.adapt(method.load(base, FP32, CPU, spec), spec)
    units = model.config.intermediate_size - 48  # the tied model has a wider feed-forward part
    wider = 2 * 4 * 3 * units
    trained = sum(weight.numel() for weight in weights(model).values())
    assert trained == lora(4) + wider + num_layers * len(TOKENS) * WIDTH

    documents = make_documents(12)
    for document in documents:
        document.input_ids[3] = rows[0]
    make_engine(tmp_path, Recorder(), model=model, train=documents, max_steps=4, validation=[])[0].run()
    method.save(model, base, tmp_path / "out")

    before = AutoModelForCausalLM.from_pretrained(base, dtype=FP32)
    tuned = load_tuned(base, tmp_path / "out", FP32)
    ids = torch.tensor([[5, *rows, 6]])
    with torch.no_grad():
        expected = tuned(input_ids=ids).logits
        whole = merge(load_tuned(base, tmp_path / "out", FP32))
        assert torch.allclose(whole(input_ids=ids).logits, expected, atol=1e-4)
        old, new = before.get_input_embeddings().weight, whole.get_input_embeddings().weight
        assert torch.equal(new[: rows[0]], old[: rows[0]])
        assert not torch.equal(new[rows[0]], old[rows[0]])

        write_peft(tmp_path / "out" / ADAPTER, tmp_path / "peft", "org/name", tokenizer)
        stranger = AutoModelForCausalLM.from_pretrained(plain, dtype=FP32)
        stranger.resize_token_embeddings(len(AutoTokenizer.from_pretrained(tmp_path / "peft")))
        stranger = PeftModel.from_pretrained(stranger, tmp_path / "peft").eval()
        assert torch.allclose(stranger(input_ids=ids).logits[..., : len(tokenizer)], expected, atol=1e-4)
    assert json.loads((tmp_path / "peft/adapter_config.json").read_text())["trainable_token_indices"]


@pytest.mark.parametrize(
    ("tokens", "reason"), [(["<a>", " "], "' ' is blank"), (["<a>", "<b>", "<a>"], "'<a>' is there twice")]
)
def test_what_is_no_token_is_refused(tokens: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        LoraSpec(added_tokens=tokens)
