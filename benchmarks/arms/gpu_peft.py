"""The arm of Transformers and PEFT of train_throughput.py on a GPU: Trainer, padded batches of eight, SDPA or, where
flash-attn is installed, FlashAttention 2.

Arguments as of gpu_luthier.py. Weights, adapter, optimizer, precision and what a step learns from are the same; nothing
is computed twice to save memory in either.
"""

import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from support.chats import read_chats
from support.shapes import random_model
from transformers import Trainer, TrainerCallback, TrainingArguments

from workers.training.forecast import peak_memory_bytes

BATCH = 8
_IGNORED = -100


class Watch(TrainerCallback):
    """Notes how long each optimizer step takes, and what is logged of it."""

    def __init__(self) -> None:
        self.step_seconds: list[float] = []
        self.rows: list[dict[str, float]] = []
        self._started = 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        """First forward pass of a step."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        """The weights are updated, or will be once the GPU has come to it."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.step_seconds.append(time.perf_counter() - self._started)

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        """A row of metrics; the last one is a summary of the run."""
        if "grad_norm" in logs:
            self.rows.append(logs)


def main() -> None:
    """Trains and prints what it was like."""
    shape, documents, num_steps, rate, name = sys.argv[1:6]
    device = torch.device(name)
    rows = read_chats(Path(documents))
    model = random_model(shape, device, "flash_attention_2" if find_spec("flash_attn") else "sdpa")
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, adapter)
    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=scratch,
                num_train_epochs=int(num_steps),
                learning_rate=float(rate),
                lr_scheduler_type="constant",
                per_device_train_batch_size=BATCH,
                gradient_accumulation_steps=-(-len(rows) // BATCH),
                optim="adamw_torch_fused",
                bf16=True,
                use_cpu=device.type == "cpu",
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
            ),
            train_dataset=Dataset.from_list(rows),
            data_collator=pad,
            callbacks=[watch],
        )
        trainer.train()
    print(
        json.dumps(
            {
                "step_seconds": [round(one, 4) for one in watch.step_seconds],
                "losses": [row["loss"] for row in watch.rows],
                "grad_norms": [row["grad_norm"] for row in watch.rows],
                "num_trainable_parameters": sum(one.numel() for one in model.parameters() if one.requires_grad),
                "peak_memory_bytes": peak_memory_bytes(device),
            }
        )
    )


def pad(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """int64 [rows, longest] each: ids, mask, and labels of the tokens that are learned."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids, mask = (torch.zeros(len(rows), longest, dtype=torch.int64) for _ in range(2))
    labels = torch.full((len(rows), longest), _IGNORED)
    for place, row in enumerate(rows):
        tokens, trainable = torch.tensor(row["input_ids"]), torch.tensor(row["trainable"])
        ids[place, : len(tokens)], mask[place, : len(tokens)] = tokens, 1
        labels[place, : len(tokens)] = tokens.where(trainable, torch.tensor(_IGNORED))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


if __name__ == "__main__":
    main()
