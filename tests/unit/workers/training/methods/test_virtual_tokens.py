"""Prompt and prefix tuning: every document sees the virtual tokens, however it lies in a row, a batch or a cache."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BertConfig, BertLMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

from luthier.spec import PrefixTuningSpec, PromptTuningSpec
from tests.unit.workers.training.tiny_run import make_documents
from workers.evaluation.batches import pad_left, positions_of
from workers.evaluation.generate import Decoding, greedy_answers
from workers.failures import ConfigError
from workers.models import load_model, load_tokenizer
from workers.models.tuned import ADAPTER, load_adapted
from workers.training.forward import target_logits
from workers.training.methods import METHODS
from workers.training.objectives.sft import summed_loss
from workers.training.packing import make_batch

CPU, FP32 = torch.device("cpu"), torch.float32
SPECS: dict[str, Any] = {
    "prompt_tuning": PromptTuningSpec(type="prompt_tuning", num_virtual_tokens=6),
    "prefix_tuning": PrefixTuningSpec(type="prefix_tuning", num_virtual_tokens=6),
}


def adapted(folder: Path, spec: Any) -> Any:
    method = METHODS[spec.type]
    torch.manual_seed(1)
    model = method.adapt(method.load(folder, FP32, CPU, spec), spec)
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data += 0.5 * torch.randn_like(weight)  # as if it had been trained
    return model


def saved(model: Any, spec: Any, base: Path, folder: Path) -> tuple[Any, Any]:
    """The adapter as our loader has it, and as PEFT has it."""
    METHODS[spec.type].save(model, base, folder)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=FP32), folder / ADAPTER)
    return load_adapted(base, folder / ADAPTER, FP32), plain.eval()


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("prefix_length", [0, 9])
def test_packed_documents_cost_what_peft_says_of_each_alone(
    base_dir: Path, tmp_path: Path, name: str, prefix_length: int
) -> None:
    documents = [document for document in make_documents(8) if len(document.input_ids) > prefix_length]
    for document in documents:
        document.input_ids[:prefix_length] = 7
        document.trainable[:prefix_length] = False
    model = adapted(base_dir, SPECS[name])
    _, peft = saved(model, SPECS[name], base_dir, tmp_path)
    expected = 0.0
    with torch.no_grad():
        for document in documents:
            ids = torch.from_numpy(document.input_ids.astype("int64"))[None]
            labels = ids.masked_fill(~torch.from_numpy(document.trainable)[None], -100)
            expected += peft(input_ids=ids, labels=labels).loss.item() * int(document.trainable[1:].sum())
    loss = summed_loss(model, make_batch(documents, prefix_length), FP32)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert all(weight.grad.abs().sum() > 0 for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("name", SPECS)
def test_batches_and_caches_answer_as_peft_does_prompt_by_prompt(base_dir: Path, tmp_path: Path, name: str) -> None:
    model = adapted(base_dir, SPECS[name])
    ours, peft = saved(model, SPECS[name], base_dir, tmp_path)
    prompts = [[5, 6, 7, 8], [9], [30, 31]]
    answers = greedy_answers(ours, prompts, Decoding(frozenset(), 0, 5), lambda _: None)
    tokens, mask = pad_left(prompts, 0, CPU)
    with torch.no_grad():
        logits = ours(input_ids=tokens, attention_mask=mask, position_ids=positions_of(mask)).logits
        for prompt, answer, row in zip(prompts, answers, logits, strict=True):
            alone = peft(input_ids=torch.tensor([prompt])).logits[0, -len(prompt) :]
            assert torch.allclose(row[-len(prompt) :], alone, atol=1e-4)
            for place in range(5):
                said = peft(input_ids=torch.tensor([prompt + answer[:place]])).logits[0, -1]
                assert answer[place] == said.argmax()


@pytest.mark.parametrize("name", SPECS)
def test_disabled_the_virtual_tokens_are_gone(base_dir: Path, name: str) -> None:
    model = adapted(base_dir, SPECS[name])
    batch = make_batch(make_documents(4))
    with torch.no_grad():
        tuned = target_logits(model, batch, FP32)
        with model.disable_adapter():
            disabled = target_logits(model, batch, FP32)
        base = target_logits(METHODS["lora"].load(base_dir, FP32, CPU, None), batch, FP32)
        assert torch.equal(disabled, base)
        assert not torch.allclose(tuned, base, atol=0.1)
        assert torch.equal(target_logits(model, batch, FP32), tuned)


@pytest.mark.parametrize("name", SPECS)
def test_they_start_as_the_text_that_is_named(base_dir: Path, name: str) -> None:
    """To begin with they say what the tokens of the text would say."""
    spec = SPECS[name].model_copy(update={"init_text": "hello world", "num_virtual_tokens": 3})
    method = METHODS[spec.type]
    model = method.adapt(method.load(base_dir, FP32, CPU, spec), spec)
    plain = load_model(base_dir, FP32)
    text = load_tokenizer(base_dir).encode("hello world", add_special_tokens=False)
    document = make_documents(1)[0]
    said = target_logits(model, make_batch([document]), FP32)
    ids = torch.tensor([[*(text * 3)[:3], *document.input_ids.tolist()]])
    with torch.no_grad():
        expected = plain(input_ids=ids).logits[0, 3:-1][torch.from_numpy(document.trainable[1:])]
    assert torch.allclose(said, expected, atol=1e-4)


def test_the_adapter_names_no_folder_of_this_machine(base_dir: Path, tmp_path: Path) -> None:
    spec = SPECS["prompt_tuning"]
    METHODS[spec.type].save(adapted(base_dir, spec), base_dir, tmp_path)
    text = (tmp_path / ADAPTER / "adapter_config.json").read_text()
    assert text.count(str(base_dir)) == text.count(f'"base_model_name_or_path": "{base_dir}"') == 1


@pytest.mark.parametrize("name", SPECS)
def test_a_decoder_whose_config_says_that_it_is_none_is_not_refused(name):
    config = GPTNeoXConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    assert config.is_decoder is False
    METHODS[name].adapt(GPTNeoXForCausalLM(config), SPECS[name])


@pytest.mark.parametrize("name", SPECS)
def test_an_encoder_is_refused(name: str) -> None:
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(ConfigError, match=r"BertLMHeadModel\) is no causal language model"):
        METHODS[name].adapt(BertLMHeadModel(config), SPECS[name])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prefix_projection": True, "init_text": "a"}, "init_text does not fit prefix_projection"),
        ({"encoder_hidden_size": 8}, "set prefix_projection: true"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PrefixTuningSpec(type="prefix_tuning", **fields)
