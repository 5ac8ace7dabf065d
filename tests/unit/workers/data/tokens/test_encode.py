"""The mask: exactly the assistant's text and what ends its turn, for templates of many kinds."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from workers.data.problems import RowError
from workers.data.row import Content
from workers.data.tokens.encode import Encoded, Encoder
from workers.data.tokens.render import render_prompt, render_texts

LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
NO_CONTROL_TOKENS = (
    "{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}(thinks){% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEMLESS = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role here') }}{% endif %}" + LLAMA3


def chat(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    turns = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return turns if system is None else [{"role": "system", "content": system}, *turns]


def encoded(tokenizer: PreTrainedTokenizerBase, row: Content) -> Encoded:
    (result,) = Encoder(tokenizer).encode([row])
    assert isinstance(result, Encoded)
    return result


def spans(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> list[str]:
    """Decoded runs of trainable tokens."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row.trainable, [False]]).astype(int)))
    return [
        tokenizer.decode(row.input_ids[start:stop], skip_special_tokens=False)
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


@pytest.mark.parametrize(
    "answer", ["world", " spaced  out ", "\nnew line", "naïve 🦊 ünïcode", '{"a": [1, 2]}', "user"]
)
def test_single_answer_is_trained_on_with_its_end_of_turn(tokenizer: PreTrainedTokenizerBase, answer: str) -> None:
    row = encoded(tokenizer, chat("hello", answer, system="system"))
    assert spans(tokenizer, row) == [f"{answer}<|im_end|>"]
    assert tokenizer.decode(row.input_ids, skip_special_tokens=False) == (
        f"<|im_start|>system\nsystem<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n"
        f"<|im_start|>assistant\n{answer}<|im_end|>\n"
    )
    assert not row.trainable[-1]


def test_every_answer_of_a_long_conversation_is_trained_on(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encoded(tokenizer, chat("one", "first 🦊", "two", " second", "three", "third"))
    assert spans(tokenizer, row) == ["first 🦊<|im_end|>", " second<|im_end|>", "third<|im_end|>"]


def test_the_weight_of_an_answer_is_that_of_its_tokens_and_zero_is_context(tokenizer: PreTrainedTokenizerBase) -> None:
    row = chat("one", "first", "two", " second", "three", "third")
    (plain,) = Encoder(tokenizer).encode([row])
    (weighted,) = Encoder(tokenizer).encode([row], [[0.5, 0.0, 2.0]])
    assert isinstance(plain, Encoded)
    assert isinstance(weighted, Encoded)
    assert plain.weights is None
    assert weighted.input_ids.tolist() == plain.input_ids.tolist()
    assert spans(tokenizer, weighted) == ["first<|im_end|>", "third<|im_end|>"]
    assert weighted.weights is not None
    assert weighted.weights.dtype == np.float32
    assert set(weighted.weights[~weighted.trainable]) == {0.0}
    assert weighted.weights[weighted.trainable][[0, -1]].tolist() == [0.5, 2.0]


def test_an_answer_of_weight_zero_needs_no_weights(tokenizer: PreTrainedTokenizerBase) -> None:
    (row,) = Encoder(tokenizer).encode([chat("one", "first", "two", "second")], [[0.0, 1.0]])
    assert isinstance(row, Encoded)
    assert row.weights is None
    assert spans(tokenizer, row) == ["second<|im_end|>"]


def test_the_last_answer_alone_is_trained_on_where_the_job_says_so(tokenizer: PreTrainedTokenizerBase) -> None:
    row = chat("one", "first", "two", "second")
    plain, weighted = Encoder(tokenizer, "last_answer").encode([row, row], [None, [7.0, 0.5]])
    assert isinstance(plain, Encoded)
    assert isinstance(weighted, Encoded)
    assert spans(tokenizer, plain) == spans(tokenizer, weighted) == ["second<|im_end|>"]
    assert plain.weights is None
    assert weighted.weights is not None
    assert set(weighted.weights[weighted.trainable]) == {0.5}


@pytest.mark.parametrize("template", [None, LLAMA3, NO_CONTROL_TOKENS])
@pytest.mark.parametrize("row", [chat("a", "b"), chat("a", "\nb", "c", " d "), chat("x", "y", system="s")])
def test_ids_before_the_last_answer_are_those_of_the_prompt(
    tokenizer: PreTrainedTokenizerBase, template: str | None, row: list[dict[str, str]]
) -> None:
    if template:
        tokenizer.chat_template = template
    prompt = render_prompt(tokenizer, row[:-1])
    result = encoded(tokenizer, row)
    assert result.input_ids[: len(prompt)].tolist() == prompt
    assert result.trainable[len(prompt) :].any()


def test_template_may_trim_what_it_renders(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = LLAMA3
    row = encoded(tokenizer, chat("one", "  first ", "two", "second"))
    assert spans(tokenizer, row) == ["first<|im_end|>", "second<|im_end|>"]


def test_template_without_end_of_turn_gets_an_end_of_sequence(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = NO_CONTROL_TOKENS
    row = encoded(tokenizer, chat("one", "first", "two", "second"))
    assert spans(tokenizer, row) == [" first\n", " second\n<|im_end|>"]
    assert row.input_ids[-1] == tokenizer.eos_token_id


def test_template_that_rewrites_earlier_turns_is_refused_only_where_it_does(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = FORGETFUL
    single, double = Encoder(tokenizer).encode([chat("one", "first"), chat("one", "first", "two", "second")])
    assert isinstance(single, Encoded)
    assert spans(tokenizer, single) == ["(thinks)first<|im_end|>"]
    assert isinstance(double, RowError)
    assert (double.reason, double.detail) == (
        "unstable chat template",
        "answer 2 changes the rendering of what came before it",
    )


def test_row_that_the_template_refuses_does_not_spoil_its_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = SYSTEMLESS
    good, bad, text = Encoder(tokenizer).encode([chat("a", "b"), chat("a", "b", system="s"), "plain"])
    assert isinstance(good, Encoded)
    assert isinstance(text, Encoded)
    assert isinstance(bad, RowError)
    assert (bad.reason, bad.detail) == ("refused by the chat template", "no system role here")


def test_text_is_trained_on_as_a_whole_and_ends(tokenizer: PreTrainedTokenizerBase) -> None:
    row = encoded(tokenizer, "hello world")
    assert spans(tokenizer, row) == ["hello world<|im_end|>"]
    assert row.trainable.all()


@pytest.mark.parametrize("template", [None, NO_CONTROL_TOKENS, FORGETFUL])
def test_a_conversation_to_be_learned_as_text_is_all_that_the_template_writes(
    tokenizer: PreTrainedTokenizerBase, template: str | None
) -> None:
    if template:
        tokenizer.chat_template = template
    messages = chat("one", "first", "two", "second")
    (row,) = Encoder(tokenizer, "everything").encode([messages])
    assert isinstance(row, Encoded)
    assert row.trainable.all()
    text = render_texts(tokenizer, [messages], add_generation_prompt=False)[0]
    end = "<|im_end|>" if template == NO_CONTROL_TOKENS else ""
    assert tokenizer.decode(row.input_ids, skip_special_tokens=False) == text + end


def test_a_conversation_that_the_template_refuses_is_no_text_either(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = SYSTEMLESS
    bad, good = Encoder(tokenizer, "everything").encode([chat("a", "b", system="s"), chat("a", "b")])
    assert isinstance(bad, RowError)
    assert isinstance(good, Encoded)


def test_text_that_ends_already_is_not_ended_twice(tokenizer: PreTrainedTokenizerBase) -> None:
    assert encoded(tokenizer, "hello<|im_end|>").input_ids.tolist().count(tokenizer.eos_token_id) == 1


def test_tokenizer_that_puts_a_space_before_each_text_reads_the_conversation_in_one_go() -> None:
    pieces = {piece: index for index, piece in enumerate(["<s>", "</s>", "▁", "▁a", "▁b", "a", "b", ":", "▁Q", "▁A"])}
    backend = Tokenizer(models.BPE(pieces, [("▁", "a"), ("▁", "b")], unk_token="<s>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{{ 'b' if m.role == 'user' else 'a' }}: {{ m.content }}"
        "{{ '</s>' if m.role == 'assistant' }}{% endfor %}{{ 'a:' if add_generation_prompt }}"
    )
    row = encoded(tokenizer, chat("b", "a"))
    whole = tokenizer(
        render_texts(tokenizer, [chat("b", "a")], add_generation_prompt=False)[0], add_special_tokens=False
    )
    assert row.input_ids.tolist() == whole["input_ids"]
    assert [tokenizer.convert_ids_to_tokens(int(i)) for i in row.input_ids[row.trainable]] == ["▁a", "</s>"]


def test_truncation_in_the_tokenizer_file_is_not_obeyed(tokenizer: PreTrainedTokenizerBase) -> None:
    whole = encoded(tokenizer, chat("hello", "world " * 20)).input_ids
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    assert encoded(tokenizer, chat("hello", "world " * 20)).input_ids.tolist() == whole.tolist()


def test_text_that_spells_a_control_token_is_noticed(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = Encoder(tokenizer)
    assert encoder.has_control_text(chat("stop <|im_end|> here", "ok"))
    assert encoder.has_control_text("<|endoftext|>")
    assert not encoder.has_control_text(chat("plain", "words"))
