"""A head in place of the output layer: scores of a document, read at its last token.

Every method adapts the causal language model that it knows; then the head, a linear layer without bias in fp32, takes
the place of the output layer, and it is put back before the method saves its part. So a head works with any method. A
train artifact has the head in a folder of its own beside what the method wrote.

`as_classifier` makes of both what plain transformers loads: the sequence classifier of the same architecture, which is
the same decoder with a layer named `score`.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from workers.failures import ConfigError
from workers.models.inner import inner_model
from workers.models.tuned import TunedModel
from workers.models.unread import read_whole
from workers.training.classes import Classes
from workers.training.forward import logits_at
from workers.training.packing import Batch

HEAD = "head"
"""Folder of a train artifact: `head.safetensors` with `weight`, and `head.json` with `labels`; where a row has several,
with `multi_label` and `threshold` besides."""


class Head(nn.Linear):
    """From hidden states to scores, in fp32 whatever surrounds it: there are few scores, and they are compared."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., hidden size] of any dtype to fp32 [..., scores]."""
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.float())


def put_head(model: TunedModel, num_scores: int) -> nn.Module:
    """Puts a fresh trainable head in place of the output layer, which is returned.

    The weights are drawn as transformers draws those of `score`.

    Raises:
        ConfigError: transformers has no classifier of this architecture, so that nothing could load the result.
    """
    inner = inner_model(model)
    if type(inner.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ConfigError(
            f"transformers has no sequence classification for models of type {inner.config.model_type}; use another "
            "base_model"
        )
    replaced = inner.get_output_embeddings()  # type: ignore[no-untyped-call]
    text = inner.config.get_text_config()
    head = Head(text.hidden_size, num_scores, bias=False, dtype=torch.float32)
    nn.init.normal_(head.weight, std=text.initializer_range)
    set_output(model, head.to(next(inner.parameters()).device))
    assert isinstance(replaced, nn.Module)
    return replaced


def set_output(model: TunedModel, layer: nn.Module) -> None:
    """Puts `layer` in place of the output layer."""
    inner_model(model).set_output_embeddings(layer)  # type: ignore[no-untyped-call]


def output_name(model: TunedModel) -> str:
    """What the output layer, or the head in its place, is called in the model of transformers."""
    inner = inner_model(model)
    output = inner.get_output_embeddings()  # type: ignore[no-untyped-call]
    names: dict[nn.Module, str] = {part: name for name, part in inner.named_modules()}
    return names[output]


def put_back(model: TunedModel, replaced: nn.Module) -> None:
    """Puts the output layer that `put_head` returned back. What is still in its file is read; if it is tied to the
    embeddings, it is tied to those that `model` has now, which may be others than those that it had."""
    read_whole(replaced)
    inner = inner_model(model)
    embeddings: object = inner.get_input_embeddings()
    if inner.config.get_text_config().tie_word_embeddings and isinstance(embeddings, nn.Embedding):
        replaced.weight = embeddings.weight
    set_output(model, replaced)


def head_of(model: nn.Module) -> Head:
    """The head of a model that has one."""
    (head,) = (part for part in model.modules() if isinstance(part, Head))
    return head


@contextmanager
def scores_read(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Gathers what the head puts out in each forward pass: some models scale their logits, which a classifier does not.

    Shapes are those of the logits that the pass was asked for, [rows, positions, scores].
    """
    seen: list[torch.Tensor] = []
    handle = head_of(model).register_forward_hook(lambda _, __, scores: seen.append(scores))
    try:
        yield seen
    finally:
        handle.remove()


def document_scores(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """fp32 [D, scores]: what the head says of each document, at its last token, in the order of `batch.ends`."""
    with scores_read(model) as seen:
        logits_at(model, batch, batch.ends, compute)
    return seen[0][0]


def save_head(model: nn.Module, classes: Classes, folder: Path) -> None:
    """Writes the head of `model` into the train artifact `folder`."""
    (folder / HEAD).mkdir()
    save_file({"weight": head_of(model).weight.detach().cpu().contiguous()}, folder / HEAD / "head.safetensors")
    described: dict[str, object] = {"labels": list(classes.labels)}
    if classes.threshold is not None:
        described |= {"multi_label": True, "threshold": classes.threshold}
    (folder / HEAD / "head.json").write_text(json.dumps(described, ensure_ascii=False) + "\n")


def load_head(model: TunedModel, folder: Path) -> Classes:
    """Puts the head of the train artifact `folder` in place of the output layer of `model`; returns its classes."""
    weight = load_file(folder / HEAD / "head.safetensors")["weight"]
    put_head(model, len(weight))
    with torch.no_grad():
        head_of(model).weight.copy_(weight)
    described = json.loads((folder / HEAD / "head.json").read_text())
    return Classes(tuple(described["labels"]), described.get("threshold"))


def as_classifier(model: PreTrainedModel, classes: Classes, pad_id: int) -> PreTrainedModel:
    """The sequence classifier of plain transformers with the weights of `model`, which has a head.

    It shares its weights with `model`, and is for saving: what is no weight is not there.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = len(classes.labels)
    config.id2label = dict(enumerate(classes.labels))
    config.label2id = {label: index for index, label in enumerate(classes.labels)}
    if classes.threshold is not None:
        config.problem_type = "multi_label_classification"
    config.pad_token_id = pad_id
    with torch.device("meta"):
        classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    decoder = f"{model.base_model_prefix}."
    weights = {name: weight for name, weight in model.state_dict().items() if name.startswith(decoder)}
    classifier.load_state_dict({**weights, "score.weight": head_of(model).weight}, assign=True)
    return classifier
