"""The decode loop that is proved at export and served by Triton."""

import json
import random
import shutil
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from workers.export.triton_backend.generation import ChatModel, RequestError, TextStream

HELLO = [{"role": "user", "content": "hello world"}]
MANY_BYTES = "héllo 😀 日本語 👩\u200d👩\u200d👧 🇩🇪 \N{REPLACEMENT CHARACTER} end"


@pytest.fixture(scope="module")
def chat_model(tiny_model_dir: Path) -> ChatModel:
    return ChatModel(tiny_model_dir)


@pytest.fixture(scope="module")
def byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """Decodes as SentencePiece models do: runs of `<0x..>` as a whole, one leading space dropped."""
    words = ["<unk>", "</s>", "▁", "▁hello", "▁wor", "ld", "a"]
    vocabulary = {token: i for i, token in enumerate([*words, *(f"<0x{byte:02X}>" for byte in range(256))])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def pieces_of(tokenizer, ids: list[int]) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push(token_id) for token_id in ids), stream.flush()]


def text_of(chunks) -> str:
    return "".join(chunk.text for chunk in chunks)


def test_pieces_join_to_the_text_and_never_break_a_character(chat_model):
    ids = chat_model.tokenizer.encode(MANY_BYTES, add_special_tokens=False)
    pieces = pieces_of(chat_model.tokenizer, ids)
    assert len(ids) > len(MANY_BYTES)
    assert "".join(pieces) == MANY_BYTES
    assert [piece for piece in pieces if "\N{REPLACEMENT CHARACTER}" in piece] == ["\N{REPLACEMENT CHARACTER} "]


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_pieces_of_any_tokens_join_to_what_the_tokenizer_decodes(kind, chat_model, byte_fallback_tokenizer):
    tokenizer = chat_model.tokenizer if kind == "byte_level" else byte_fallback_tokenizer
    generator = random.Random(0)
    for _ in range(200):
        ids = [generator.randrange(len(tokenizer)) for _ in range(generator.randrange(1, 40))]
        assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids, skip_special_tokens=True)


def test_greedy_answer_is_that_of_transformers(chat_model, tiny_model_dir):
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="auto").eval()
    prompt = chat_model.render(HELLO)
    with torch.inference_mode():
        expected = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[0, len(prompt) :]
    chunks = list(chat_model.stream(HELLO, max_new_tokens=24))
    assert [token for chunk in chunks for token in chunk.token_ids] == expected.tolist()
    assert [chunk.finish_reason for chunk in chunks] == [""] * 24 + ["length"]
    assert {chunk.num_prompt_tokens for chunk in chunks} == {len(prompt)}
    assert [chunk.num_completion_tokens for chunk in chunks] == [*range(1, 25), 24]


def test_rotary_frequencies_are_not_rounded_with_the_weights(chat_model):
    rotary = chat_model.model.model.rotary_emb.inv_freq
    assert rotary.dtype == torch.float32
    assert not torch.equal(rotary, rotary.bfloat16().float())


def test_every_end_token_of_the_generation_config_ends_the_answer(chat_model, tiny_model_dir, tmp_path):
    answer = [chunk.token_ids[0] for chunk in chat_model.stream(HELLO, 40, temperature=1.5, seed=3) if chunk.token_ids]
    end = next(token for token in answer if token != answer[0])
    folder = shutil.copytree(tiny_model_dir, tmp_path / "two-ends")
    config = json.loads((folder / "generation_config.json").read_text())
    config["eos_token_id"] = [config["eos_token_id"], end]
    (folder / "generation_config.json").write_text(json.dumps(config))
    chunks = list(ChatModel(folder).stream(HELLO, 40, temperature=1.5, seed=3))
    assert chunks[-1].finish_reason == "stop"
    assert [token for chunk in chunks for token in chunk.token_ids] == answer[: answer.index(end)]


def test_seed_decides_what_is_sampled(chat_model):
    def sample(seed: int | None) -> str:
        return text_of(chat_model.stream(HELLO, 30, temperature=1.0, top_p=0.95, seed=seed))

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) == 4
    assert sample(None) != sample(None)


def test_smallest_nucleus_is_greedy(chat_model):
    nucleus = chat_model.stream(HELLO, 20, temperature=1.0, top_p=1e-6, seed=1)
    assert text_of(nucleus) == text_of(chat_model.stream(HELLO, 20))


def test_streams_that_take_turns_do_not_mix(chat_model):
    other = [{"role": "user", "content": "the quick brown fox"}]
    requests = [(HELLO, 1), (other, 2), (HELLO, 3)]
    alone = [text_of(chat_model.stream(messages, 25, temperature=1.0, seed=seed)) for messages, seed in requests]
    streams = [chat_model.stream(messages, 25, temperature=1.0, seed=seed) for messages, seed in requests]
    turns = zip_longest(*streams)
    assert [text_of(filter(None, chunks)) for chunks in zip(*turns, strict=True)] == alone


def test_context_ends_the_answer_and_bounds_the_prompt(chat_model):
    long = [{"role": "user", "content": "1 2 3 " * 80}]
    num_prompt_tokens = len(chat_model.render(long))
    last = list(chat_model.stream(long, max_new_tokens=10_000, temperature=1.0, seed=0))[-1]
    assert last.finish_reason in ("length", "stop")
    assert last.num_prompt_tokens + last.num_completion_tokens <= 512
    assert num_prompt_tokens < 512
    with pytest.raises(RequestError, match=r"has \d{3,} tokens, the model's context 512; shorten it"):
        chat_model.stream([{"role": "user", "content": "1 2 3 " * 200}], max_new_tokens=1)


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        ([], {}, "at least one message"),
        (None, {}, "must be a list"),
        ([{"role": "narrator", "content": "x"}], {}, "system, user, assistant, tool"),
        ([{"role": "user", "content": None}], {}, r"messages\[0\].content must be text"),
        (HELLO, {"max_new_tokens": 0}, "max_new_tokens"),
        (HELLO, {"max_new_tokens": True}, "max_new_tokens"),
        (HELLO, {"max_new_tokens": 2.5}, "max_new_tokens"),
        (HELLO, {"temperature": float("nan")}, "temperature"),
        (HELLO, {"temperature": "hot"}, "temperature"),
        (HELLO, {"top_p": 0}, "top_p"),
        (HELLO, {"seed": 2**63}, "seed"),
    ],
)
def test_bad_request_is_refused_before_the_first_chunk(chat_model, messages, options, message):
    with pytest.raises(RequestError, match=message):
        chat_model.stream(messages, **{"max_new_tokens": 5, **options})


def test_refusal_of_the_chat_template_is_told(tiny_model_dir, tmp_path):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "picky")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system turn, please') }}")
    with pytest.raises(RequestError, match="no system turn, please"):
        ChatModel(folder).render(HELLO)


def test_a_chat_template_that_wants_all_of_the_server_is_stopped(tiny_model_dir, tmp_path):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "greedy")
    source = "{{ messages[0].content }}\n{{ 'x' * 10 ** 10 if messages[2] }}"  # no probe has seen a third message
    (folder / "chat_template.jinja").write_text(source)
    model = ChatModel(folder)
    assert model.render(HELLO)
    with pytest.raises(RequestError, match=r"was stopped: line 2: it needs more than .* steps .* send less"):
        model.render([*HELLO, {"role": "assistant", "content": "a"}, *HELLO])


def test_model_without_a_chat_template_is_refused(tiny_model_dir, tmp_path):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template"):
        ChatModel(folder)
