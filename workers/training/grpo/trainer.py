"""TRL's trainer for the steps of a run that are left: our sections as its config, our optimizer and schedule in it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from luthier.spec import GrpoSpec, TrainingSpec
from workers.data.dataset import Example
from workers.models.tuned import TunedModel
from workers.training.grpo.rewards import Reward
from workers.training.grpo.rounds import Rounds, micro_batch
from workers.training.schedule import learning_rate


def make_trainer(
    model: TunedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Example],
    rewards: list[Reward],
    optimizer: torch.optim.Optimizer,
    callback: TrainerCallback,
    *,
    objective: GrpoSpec,
    training: TrainingSpec,
    rounds: Rounds,
    first_step: int,
    compute: torch.dtype,
    refit: int,
    folder: Path,
) -> GRPOTrainer:
    """A trainer of the optimizer steps from `first_step` on.

    Args:
        model: on its device, with the weights that training starts from, also where a run goes on: the reference of
            `beta` is taken from it here.
        tokenizer: with a chat template.
        rows: the training split.
        rewards: in the order of the job file.
        optimizer: over what is trained.
        callback: sees what happens.
        objective: the job's section.
        training: the job's section.
        rounds: of the whole run.
        first_step: optimizer steps done, whole rounds.
        compute: dtype of the matrix products.
        refit: how often a forward pass is halved.
        folder: for what TRL may write.
    """
    micro, accumulation = micro_batch(training, refit)
    config = GRPOConfig(
        output_dir=str(folder),
        max_steps=max(1, rounds.num_steps - first_step),  # none are left where a run that was over is taken up
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.0,  # watch.py clips, because it must know the norm before
        activation_checkpointing=training.gradient_checkpointing == "full",
        bf16=compute == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        seed=training.seed,
        reward_weights=[reward.weight for reward in objective.rewards],
        **_of_objective(objective),
        shuffle_dataset=False,
        # All else that a Trainer does beside training is done elsewhere.
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=[*rewards],
        args=config,
        train_dataset=_dataset(rows).select(rounds.rows(first_step)),
        processing_class=tokenizer,
        callbacks=[callback],
        optimizers=(optimizer, _schedule(optimizer, training, rounds.num_steps, first_step)),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _of_objective(objective: GrpoSpec) -> Mapping[str, Any]:
    """The fields that are TRL's, under TRL's names."""
    return objective.model_dump(exclude={"type", "rewards", "max_flat_steps"})


def _dataset(rows: Sequence[Example]) -> Dataset:
    return Dataset.from_list(
        [{"prompt": row.prompt, "answer": row.reference, "origin": f"{row.source}:{row.row}"} for row in rows]
    )


def _schedule(optimizer: torch.optim.Optimizer, training: TrainingSpec, num_steps: int, first_step: int) -> LambdaLR:
    """Our learning rate of every step; groups of parameters by their ratios."""

    def factor(ratio: float) -> Any:
        return lambda step: (
            ratio * learning_rate(min(first_step + step, num_steps - 1), num_steps, training) / training.learning_rate
        )

    return LambdaLR(optimizer, [factor(group["rate_ratio"]) for group in optimizer.param_groups])


def drop_reference(model: nn.Module) -> None:
    """Takes away the copy of a PEFT adapter that TRL keeps as the reference of `beta`: it is no part of the result."""
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")  # type: ignore[operator]
