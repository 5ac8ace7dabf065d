"""Every preference loss is TRL's own: same rows, same weights, fp32, losses and gradients within 1e-5.

What TRL computes comes from its trainers, made with a reference model of its own where the loss has one.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from luthier.spec import DpoSpec, IpoSpec, KtoSpec, OrpoSpec, RewardSpec, SimpoSpec
from tests.unit.workers.training.objectives.preference_rows import (
    make_labelled,
    make_pairs,
    mean_loss,
    one_by_one,
    started_and_moved,
)
from workers.data.row import DESIRABLE
from workers.data.tokens.encode import Encoded
from workers.models import load_tokenizer
from workers.training.heads import as_classifier, put_head
from workers.training.objectives import Objective
from workers.training.objectives.dpo import make_dpo, score
from workers.training.objectives.ipo import make_ipo
from workers.training.objectives.kto import Kto
from workers.training.objectives.orpo import make_orpo
from workers.training.objectives.pairs import PairLogProbs
from workers.training.objectives.reward import CLASSES, Reward
from workers.training.objectives.simpo import make_simpo
from workers.training.samples import Sample

LIMIT = 1e-5
PLAIN = {"report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
"""What makes TRL compute on the CPU, in fp32, without a service to report to."""

Make = Callable[[type, Any, nn.Module, nn.Module | None], Any]


@pytest.fixture
def make_trainer(tiny_model_dir: Path) -> Make:
    """A function that makes a trainer of TRL; the rows that it insists on are never looked at."""
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(tiny_model_dir)
    pair = {"prompt": "hello", "chosen": " world", "rejected": " fox"}
    answers = {"prompt": "hello", "completion": " world", "label": True}

    def make(kind: type, args: Any, model: nn.Module, reference: nn.Module | None) -> Any:
        rows = Dataset.from_list([answers if kind is KTOTrainer else pair] * 2)
        extra = {} if reference is None else {"ref_model": _plain(reference)}
        return kind(model=_plain(model), args=args, train_dataset=rows, processing_class=tokenizer, **extra)

    return make


def _plain(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    copied.set_attn_implementation("sdpa")
    return copied


def _split(document: Encoded) -> tuple[list[int], list[int]]:
    start = int(document.trainable.argmax())
    return document.input_ids[:start].tolist(), document.input_ids[start:].tolist()


def _as_trl_pairs(samples: Sequence[Sample]) -> list[dict[str, list[int]]]:
    rows = []
    for sample in samples:
        (prompt, chosen), (_, rejected) = map(_split, sample.documents)
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return rows


def _as_labelled_sequences(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Rows as the collator of CPO and ORPO takes them: whole sequences, labels of the prompt -100."""
    rows = []
    for sample in samples:
        row: dict[str, Any] = {"prompt": "", "chosen": "", "rejected": ""}
        prompt, _ = _split(sample.documents[0])
        row |= {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for name, document in zip(("chosen", "rejected"), sample.documents, strict=True):
            ids = document.input_ids.tolist()
            labels = [token if wanted else -100 for token, wanted in zip(ids, document.trainable, strict=True)]
            row |= {f"{name}_input_ids": ids, f"{name}_attention_mask": [1] * len(ids), f"{name}_labels": labels}
        rows.append(row)
    return rows


def _ours(objective: Objective, started: nn.Module, moved: nn.Module, samples: Sequence[Sample]) -> tuple[float, list]:
    """Loss and gradients; the weights change between `prepare` and the step, as they do in training."""
    model = copy.deepcopy(started)
    objective.check(samples, [])
    objective.prepare(model, samples, one_by_one, torch.float32)
    model.load_state_dict(moved.state_dict())
    loss = mean_loss(objective, model, samples, [samples[:3], samples[3:]])
    loss.backward()
    return loss.item(), [weight.grad for weight in model.parameters()]


def _theirs(loss: torch.Tensor, model: nn.Module) -> tuple[float, list]:
    loss.backward()
    return loss.item(), [weight.grad for weight in model.parameters()]


def _assert_close(pairs: Iterable[tuple[torch.Tensor, torch.Tensor]], largest: float) -> None:
    """Gradients, within `LIMIT` of the largest one where that is above 1."""
    assert max(float((one - other).abs().max()) for one, other in pairs) <= LIMIT * max(1.0, largest)


def _assert_same(ours: tuple[float, list], theirs: tuple[float, list]) -> None:
    assert ours[0] == pytest.approx(theirs[0], abs=LIMIT)
    assert len(ours[1]) == len(theirs[1])
    largest = max(float(gradient.abs().max()) for gradient in ours[1])
    _assert_close(zip(ours[1], theirs[1], strict=True), largest)
    assert largest > 100 * LIMIT


@pytest.mark.parametrize(
    ("objective", "loss_type", "beta"),
    [
        (make_dpo(DpoSpec(type="dpo", beta=0.3)), "sigmoid", 0.3),
        (make_ipo(IpoSpec(type="ipo", beta=0.5)), "ipo", 0.5),
    ],
    ids=["dpo", "ipo"],
)
def test_losses_with_a_reference(
    make_trainer: Make, tmp_path: Path, objective: Objective, loss_type: str, beta: float
) -> None:
    started, moved = started_and_moved()
    pairs = make_pairs(5)
    args = DPOConfig(output_dir=str(tmp_path), loss_type=[loss_type], beta=beta, **PLAIN)
    trainer = make_trainer(DPOTrainer, args, moved, started)
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(_as_trl_pairs(pairs)))
    _assert_same(_ours(objective, started, moved, pairs), _theirs(loss, trainer.model))


def test_dpo_with_label_smoothing(make_trainer: Make, tmp_path: Path) -> None:
    """TRL's DPO trainer leaves smoothing out of this loss, and says in `CPOTrainer.cpo_loss` what it is."""
    started, moved = started_and_moved()
    pairs = make_pairs(5)
    trainer = make_trainer(DPOTrainer, DPOConfig(output_dir=str(tmp_path), beta=0.3, **PLAIN), moved, started)
    args = CPOConfig(output_dir=str(tmp_path), loss_type="sigmoid", beta=0.3, label_smoothing=0.2, **PLAIN)
    smoother = make_trainer(CPOTrainer, args, moved, None)
    turned = [Sample(pair.number, pair.documents[::-1]) for pair in pairs]
    kept, flipped = (
        trainer.compute_loss(trainer.model, trainer.data_collator(_as_trl_pairs(rows))) for rows in (pairs, turned)
    )
    objective = make_dpo(DpoSpec(type="dpo", beta=0.3, label_smoothing=0.2))
    _assert_same(_ours(objective, started, moved, pairs), _theirs(0.8 * kept + 0.2 * flipped, trainer.model))
    chosen, rejected, zero, one = torch.tensor([[0.5, -2.0], [-0.3, 1.0], [0.0, 0.0], [1.0, 1.0]])
    theirs, *_ = smoother.cpo_loss(chosen, rejected)
    assert torch.allclose(
        score(PairLogProbs(chosen, rejected, zero, zero, one, one), beta=0.3, smoothing=0.2).losses, theirs
    )


def test_simpo(make_trainer: Make, tmp_path: Path) -> None:
    started, moved = started_and_moved()
    pairs = make_pairs(5)
    settings = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": 2.0, "simpo_gamma": 0.7}
    trainer = make_trainer(CPOTrainer, CPOConfig(output_dir=str(tmp_path), **settings, **PLAIN), moved, None)
    batch = trainer.data_collator(_as_labelled_sequences(pairs))
    loss, _ = trainer.get_batch_loss_metrics(trainer.model, batch)
    objective = make_simpo(SimpoSpec(type="simpo", beta=2.0, gamma=0.7))
    _assert_same(_ours(objective, started, moved, pairs), _theirs(loss, trainer.model))


def test_orpo(make_trainer: Make, tmp_path: Path) -> None:
    """On answers of one length after prompts of one token: there the mean over a batch's tokens is that over pairs."""
    started, moved = started_and_moved()
    pairs = make_pairs(5, prompt_length=1, length=6)
    trainer = make_trainer(ORPOTrainer, ORPOConfig(output_dir=str(tmp_path), beta=0.4, **PLAIN), moved, None)
    batch = trainer.data_collator(_as_labelled_sequences(pairs))
    loss, _ = trainer.get_batch_loss_metrics(trainer.model, batch)
    objective = make_orpo(OrpoSpec(type="orpo", beta=0.4))
    _assert_same(_ours(objective, started, moved, pairs), _theirs(loss, trainer.model))


def test_orpo_odds_ratio_on_any_rows(make_trainer: Make, tmp_path: Path) -> None:
    started, moved = started_and_moved()
    pairs = make_pairs(5)
    trainer = make_trainer(ORPOTrainer, ORPOConfig(output_dir=str(tmp_path), beta=0.4, **PLAIN), moved, None)
    batch = trainer.data_collator(_as_labelled_sequences(pairs))
    chosen, rejected, *_ = trainer.concatenated_forward(trainer.model, batch)
    odds, *_ = trainer.odds_ratio_loss(chosen, rejected)
    ours, _ = _ours(make_orpo(OrpoSpec(type="orpo", beta=0.4)), started, moved, pairs)
    assert ours == pytest.approx((-chosen - odds).mean().item(), abs=LIMIT)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.7, 1.9)])
def test_kto(make_trainer: Make, tmp_path: Path, weights: tuple[float, float]) -> None:
    started, moved = started_and_moved()
    rows = make_labelled(6)
    settings = {"beta": 0.3, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
    trainer = make_trainer(KTOTrainer, KTOConfig(output_dir=str(tmp_path), **settings, **PLAIN), moved, started)
    documents = [_split(row.documents[0]) for row in rows]
    theirs = [
        {
            "prompt_ids": prompt,
            "completion_ids": said,
            "KL_completion_ids": documents[number - 1][1],
            "label": rows[number].label == DESIRABLE,
        }
        for number, (prompt, said) in enumerate(documents)
    ]
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(theirs))
    objective = Kto(KtoSpec(type="kto", **settings))
    _assert_same(_ours(objective, started, moved, rows), _theirs(loss, trainer.model))
    divergence = trainer._metrics["train" if trainer.model.training else "eval"]["kl"][-1]
    assert divergence > 0, "or the term would not be looked at"


def test_reward_model(make_trainer: Make, tmp_path: Path) -> None:
    """TRL trains the very files that an export would leave."""
    _, model = started_and_moved()
    put_head(model, 1)
    pairs = make_pairs(5)
    as_classifier(model, CLASSES, pad_id=0).save_pretrained(tmp_path / "merged")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert (plain.config.num_labels, plain.config.id2label) == (1, {0: "reward"})
    args = RewardConfig(output_dir=str(tmp_path), center_rewards_coefficient=0.3, **PLAIN)
    trainer = make_trainer(RewardTrainer, args, plain, None)
    rows = []
    for pair in pairs:
        chosen, rejected = (document.input_ids.tolist() for document in pair.documents)
        rows.append({"chosen_ids": chosen, "rejected_ids": rejected})
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    objective = Reward(RewardSpec(type="reward", center_rewards_coefficient=0.3))
    ours = mean_loss(objective, model, pairs, [pairs[:3], pairs[3:]])
    loss.backward()
    ours.backward()
    theirs = {name: weight.grad for name, weight in trainer.model.named_parameters()}
    found = {name.replace("lm_head", "score"): weight.grad for name, weight in model.named_parameters()}
    assert ours.item() == pytest.approx(loss.item(), abs=LIMIT)
    assert found.keys() == theirs.keys()
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    _assert_close(((found[name], theirs[name]) for name in found), largest)
    assert float(found["score.weight"].abs().max()) > 100 * LIMIT
