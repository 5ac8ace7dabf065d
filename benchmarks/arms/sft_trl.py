"""TRL's arms of train_throughput.py: SFTTrainer on the same ids and the same targets. One JSON object on stdout.

Arguments: folder of the base model, file of the chats, `lora` or `full`, number of optimizer steps, learning rate,
`default` (padded batches of eight, as its tutorials show) or `packed` (best fit into 1,024 tokens). Frozen weights are
bf16 and products are bf16, as ours are; gradient checkpointing, which TRL turns on by itself, is off, because there is
memory enough and it would cost TRL a third of its speed.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from support.chats import read_chats
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

ARMS: dict[str, dict[str, Any]] = {
    "default": {"per_device_train_batch_size": 8},
    "packed": {"per_device_train_batch_size": 1, "packing": True},
}


class Watch(TrainerCallback):
    """Notes when each optimizer step begins and ends, and what is logged of it."""

    def __init__(self) -> None:
        self.step_seconds: list[float] = []
        self.rows: list[dict[str, float]] = []
        self._started = 0.0

    def on_step_begin(self, *_: object, **__: object) -> None:
        """First forward pass of a step."""
        self._started = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        """The weights are updated."""
        self.step_seconds.append(time.perf_counter() - self._started)

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        """A row of metrics; the last one is a summary of the run."""
        if "grad_norm" in logs:
            self.rows.append(logs)


def main() -> None:
    """Trains and prints seconds, losses and gradient norms by step."""
    folder, chats, name, num_steps, rate, arm = sys.argv[1:7]
    rows = [
        {"input_ids": row["input_ids"], "assistant_masks": [int(one) for one in row["trainable"]]}
        for row in read_chats(Path(chats))
    ]
    set_seed(1)
    dtype = torch.bfloat16 if name == "lora" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=scratch,
                num_train_epochs=int(num_steps),
                learning_rate=float(rate),
                lr_scheduler_type="constant",
                gradient_accumulation_steps=len(rows),
                gradient_checkpointing=False,
                bf16=True,
                use_cpu=True,
                max_length=1024,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **ARMS[arm],
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(folder, local_files_only=True),
            peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
            if name == "lora"
            else None,
            callbacks=[watch],
        )
        trainable = sum(one.numel() for one in trainer.model.parameters() if one.requires_grad)
        trainer.train()
    print(
        json.dumps(
            {
                "step_seconds": [round(one, 4) for one in watch.step_seconds],
                "losses": [float(row["loss"]) for row in watch.rows],
                "grad_norms": [float(row["grad_norm"]) for row in watch.rows],
                "num_trainable_parameters": trainable,
                "compute": "bfloat16",
            }
        )
    )


if __name__ == "__main__":
    main()
