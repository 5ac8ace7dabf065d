"""The quick tokenizer against the tokenizer itself, for the kinds of tokenizer that models have."""

import copy
import random
from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from workers.data.tokens.batch_tokenizer import BatchTokenizer

GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
PREFIXED = pre_tokenizers.ByteLevel(add_prefix_space=True)
# Words, up to three digits, marks with line ends, white space: in the manner of newer models.
WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
)
SPLIT = pre_tokenizers.Sequence(
    [pre_tokenizers.Split(WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
)
TEXTS = [
    "What is it? It's a test, isn't it?",
    "",
    "  \n\n\tdef f(x): return x  # 12345\r\n",
    "été e\u0301te\u0301 漢字 😀\u200d🚀 \u2028 \u00a0x",
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>",
    "a <mask> b<mask>c  <mask>",
    "x" * 500 + " " * 200 + "\n" * 50,
]


def trained(
    pre_tokenizer: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None, trim: bool = False
) -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    backend.normalizer = normalizer
    if trim:
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["what is it the test is not a def return hello user " * 3, *TEXTS], trainer)
    backend.add_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")


KINDS: dict[str, Callable[[], PreTrainedTokenizerBase]] = {
    "gpt2": lambda: trained(GPT2, trim=True),
    "prefix space": lambda: trained(PREFIXED),
    "split": lambda: trained(SPLIT),
    "nfc": lambda: trained(SPLIT, normalizers.NFC()),
    "lowercase": lambda: trained(GPT2, normalizers.Lowercase()),
}


def random_texts(number: int) -> list[str]:
    chance = random.Random(0)
    letters = "etaoin shrdlu\n\t .,'0123456789<|>éß漢字😀\u0301\u200b\u00a0\ufeff\x00\u0416\u042f\u0444"
    return ["".join(chance.choices(letters, k=chance.randint(0, 80))) for _ in range(number)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_ids_are_those_of_the_tokenizer(kind: str) -> None:
    tokenizer = KINDS[kind]()
    quick = BatchTokenizer(tokenizer)
    texts = TEXTS + random_texts(500)
    for add_special in (False, True):
        expected = [tokenizer.encode(text, add_special_tokens=add_special) for text in texts]
        assert [ids.tolist() for ids in quick.encode(texts, add_special=add_special)] == expected
    assert quick.is_trusted


@pytest.mark.parametrize("kind", ["gpt2", "split", "nfc"])
def test_usual_kinds_are_quick(kind: str) -> None:
    assert BatchTokenizer(KINDS[kind]()).is_fast


def test_other_kinds_are_left_to_the_tokenizer() -> None:
    backend = Tokenizer(models.WordLevel({"hello": 0, "you": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    quick = BatchTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert not quick.is_fast
    assert quick.is_trusted
    assert [ids.tolist() for ids in quick.encode(["hello you", "who"])] == [[0, 1], [2]]


def test_one_difference_is_the_end_of_it(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = BatchTokenizer(tokenizer)
    assert quick.is_fast
    # As if the two had read the token otherwise all along, in rows that were not compared.
    other = BatchTokenizer(copy.deepcopy(tokenizer))
    backend = copy.deepcopy(tokenizer).backend_tokenizer
    backend.add_special_tokens(["hello"])
    monkeypatch.setattr(quick, "_backend", backend)
    assert [ids.tolist() for ids in quick.encode(["you", "hello you"])] == [
        encoding.ids for encoding in backend.encode_batch(["you", "hello you"])
    ]
    assert not quick.is_trusted
    assert not quick.is_fast
    assert other.is_trusted


@pytest.mark.parametrize("kind", KINDS)
def test_spans_are_those_of_the_characters(kind: str) -> None:
    tokenizer = KINDS[kind]()
    quick = BatchTokenizer(tokenizer)
    texts = ["".join(pair) for pair in zip(random_texts(120), TEXTS * 20, strict=False)]
    for text in texts:
        (ids,) = quick.encode([text])
        encoding = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        cut = len(text) // 3
        spans = [(0, cut), (cut, 2 * cut), (2 * cut, len(text)), (cut, cut)]
        for (start, stop), found in zip(spans, quick.token_spans(text, ids, spans), strict=True):
            inside = [n for n, (a, b) in enumerate(encoding.offsets) if start <= a < b <= stop]
            mine = np.arange(len(ids))[found].tolist()
            # A tokenizer that trims offsets says of white space that it is nowhere, and of " a" that it is "a".
            assert inside == mine or set(mine) ^ set(inside) <= {
                n for n, (a, b) in enumerate(encoding.offsets) if a == b or encoding.tokens[n].startswith("Ġ")
            }
