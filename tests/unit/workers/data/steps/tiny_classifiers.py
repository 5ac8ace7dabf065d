"""Classifiers that know a few words, made on the spot: real BERTs, whose weights are set by hand."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedTokenizerFast,
)

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_WIDTH = 16
_NUM_POSITIONS = 64


def make_tagger(folder: Path, words: Sequence[str], labels: Sequence[str] = ("O", "B-PER")) -> Path:
    """A token classifier that gives the second label to `words` and the first to all others."""
    model = BertForTokenClassification(_config(words, labels))
    _know(model.bert, words)
    # A word is what its embedding says: nothing is added by attention or the layer behind it.
    torch.nn.init.zeros_(model.bert.encoder.layer[0].attention.output.dense.weight)
    _ask(model.classifier)
    return _save(model, folder, words)


def make_judge(folder: Path, words: Sequence[str], labels: Sequence[str] = ("fine", "toxic")) -> Path:
    """A text classifier that gives the second label to texts with one of `words` among some ten."""
    model = BertForSequenceClassification(_config(words, labels))
    _know(model.bert, words)
    attention = model.bert.encoder.layer[0].attention
    # Each place sees the mean of all of them.
    for part in (attention.self.query, attention.self.key):
        torch.nn.init.zeros_(part.weight)
    torch.nn.init.eye_(attention.self.value.weight)
    with torch.no_grad():
        attention.output.dense.weight.copy_(20 * torch.eye(_WIDTH))
    torch.nn.init.eye_(model.bert.pooler.dense.weight)
    _ask(model.classifier)
    return _save(model, folder, words)


def _config(words: Sequence[str], labels: Sequence[str]) -> BertConfig:
    return BertConfig(
        vocab_size=len(_SPECIAL) + len(words),
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=_NUM_POSITIONS,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )


def _know(bert: torch.nn.Module, words: Sequence[str]) -> None:
    """Known words point one way in the first dimension, all others the other way."""
    for parameter in bert.parameters():
        torch.nn.init.zeros_(parameter)
    for module in bert.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.ones_(module.weight)
    with torch.no_grad():
        embeddings = bert.embeddings.word_embeddings.weight
        embeddings[:, 1] = 1.0
        embeddings[len(_SPECIAL) :, 1] = 0.0
        embeddings[len(_SPECIAL) :, 0] = 1.0


def _ask(classifier: torch.nn.Linear) -> None:
    """The second label where there is something in the first dimension."""
    with torch.no_grad():
        classifier.weight.zero_()
        classifier.weight[1, 0] = 20.0
        classifier.bias.zero_()
        classifier.bias[1] = -3.0


def _save(model: torch.nn.Module, folder: Path, words: Sequence[str]) -> Path:
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder
