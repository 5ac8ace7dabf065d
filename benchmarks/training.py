"""Our training step beside a plain one, on the tickets and the demo's model: one JSON object on stdout.

Both arms start from the same adapter, see the same documents in the same order and take the same optimizer steps,
turn by turn, so that whatever else the machine does hits both. The plain arm is what most tutorials show: padded
batches, all positions through the output layer, the model's own mean loss, adapters as PEFT leaves them. The figures
count once only if both arms learn: equal first losses, gradients that are not zero, losses that fall.

Machine-dependent in absolute terms; the ratio is what matters.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, set_seed

from luthier.settings import WorkerSettings
from luthier.spec import JobSpec, load_job_file
from workers.data.dataset import Example
from workers.data.render import render_prompt, render_texts, token_ids
from workers.models import load_model, load_tokenizer, resolve_base_model
from workers.training.attention import register
from workers.training.methods import METHODS
from workers.training.objectives.sft import summed_loss
from workers.training.optimizers import make_optimizer, trainable_parameters
from workers.training.packing import make_batch, pack, shared_prefix
from workers.training.precision import choose_dtype

TICKETS = Path(__file__).parents[1] / "examples" / "tickets"
PADDED_BATCH = 8
LOSS_TOLERANCE = 0.02  # relative, of the first loss; bf16 keeps eight bits


class PlainArm:
    """Padded batches through the model's own loss."""

    def __init__(self, model: PeftModel, job: JobSpec) -> None:
        self.model = model.train()
        self.parameters = trainable_parameters(model)
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=job.training.learning_rate)

    def step(self, documents: Sequence[Example]) -> tuple[float, float]:
        """Loss and gradient norm of one optimizer step."""
        batches = [documents[i : i + PADDED_BATCH] for i in range(0, len(documents), PADDED_BATCH)]
        total = 0.0
        for batch in batches:
            ids = [torch.from_numpy(document.input_ids.astype(np.int64)) for document in batch]
            wanted = [torch.from_numpy(document.trainable) for document in batch]
            labels = [torch.where(keep, row, -100) for row, keep in zip(ids, wanted, strict=True)]
            loss = self.model(
                input_ids=pad_sequence(ids, batch_first=True),
                attention_mask=pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
                labels=pad_sequence(labels, batch_first=True, padding_value=-100),
            ).loss
            (loss / len(batches)).backward()
            total += loss.item() / len(batches)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, float(norm)


class LuthierArm:
    """Packs without padding, the shared prefix once, only the targets through the output layer."""

    def __init__(self, model: PeftModel, job: JobSpec, compute: torch.dtype) -> None:
        self.model = model.train()
        self.parameters = trainable_parameters(model)
        self.optimizer = make_optimizer(self.parameters, job.training)
        self.pack_length = job.training.pack_length
        self.compute = compute

    def step(self, documents: Sequence[Example]) -> tuple[float, float]:
        """Loss and gradient norm of one optimizer step."""
        prefix = shared_prefix(documents)
        lengths = [len(document.input_ids) - prefix for document in documents]
        rows = pack(lengths, self.pack_length - prefix, range(len(documents)))
        batches = [make_batch([documents[index] for index in row], prefix) for row in rows]
        num_targets = sum(batch.num_targets for batch in batches)
        total = 0.0
        for batch in batches:
            loss = summed_loss(self.model, batch, self.compute) / num_targets
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total, float(norm)


def main() -> int:
    """Runs the benchmark; 1 when an arm did not learn, because then its speed means nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="optimizer steps of each arm; the first is not timed")
    parser.add_argument("--documents", type=int, default=16, help="documents in one optimizer step")
    arguments = parser.parse_args()
    job = load_job_file(TICKETS / "job.yaml")
    folder = resolve_base_model(job.base_model, WorkerSettings())
    documents = read_documents(load_tokenizer(folder), job, arguments.rounds * arguments.documents)
    compute = choose_dtype(job.training.precision, torch.device("cpu"))
    arms: dict[str, PlainArm | LuthierArm] = {
        "plain": PlainArm(make_model(folder, job, compute, "sdpa"), job),
        "luthier": LuthierArm(make_model(folder, job, compute, register()), job, compute),
    }
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for start in range(0, len(documents), arguments.documents):
        batch = documents[start : start + arguments.documents]
        num_tokens = sum(len(document.input_ids) for document in batch)
        for name, arm in arms.items():
            started = time.perf_counter()
            loss, norm = arm.step(batch)
            speed = num_tokens / (time.perf_counter() - started)
            rows[name].append({"loss": loss, "grad_norm": norm, "tokens_per_second": speed})
    gates = judge(rows)
    print(json.dumps(report(rows, gates, job, compute, documents)))
    return 0 if all(gates.values()) else 1


def read_documents(tokenizer: PreTrainedTokenizerBase, job: JobSpec, num_documents: int) -> list[Example]:
    """The first training tickets as preprocess would tokenize them: loss on the answer and its end."""
    documents = []
    lines = (TICKETS / "train.jsonl").read_text(encoding="utf-8").splitlines()[:num_documents]
    for number, line in enumerate(lines, start=1):
        messages = [{"role": "system", "content": job.data.system_prompt or ""}, *json.loads(line)["messages"]]
        num_prompt = len(render_prompt(tokenizer, messages[:-1]))
        text = render_texts(tokenizer, [messages], add_generation_prompt=False)[0].rstrip("\n")
        ids = np.array(token_ids(tokenizer, [text])[0], np.int32)
        documents.append(Example(number, "train.jsonl", ids, np.arange(len(ids)) >= num_prompt, messages))
    return documents


def make_model(folder: Path, job: JobSpec, dtype: torch.dtype, attention: str) -> PeftModel:
    """The base model with the same fresh adapter every time."""
    model = load_model(folder, dtype)
    model.set_attn_implementation(attention)
    set_seed(job.training.seed)
    return METHODS[job.method.type].adapt(model, job.method)


def judge(rows: dict[str, list[dict[str, float]]]) -> dict[str, bool]:
    """Whether both arms trained, and trained the same thing."""
    first = [arm[0]["loss"] for arm in rows.values()]
    return {
        "first_losses_agree": abs(first[0] - first[1]) <= LOSS_TOLERANCE * first[0],
        "gradients_are_not_zero": all(row["grad_norm"] > 0 for arm in rows.values() for row in arm),
        "losses_fall": all(arm[-1]["loss"] < 0.8 * arm[0]["loss"] for arm in rows.values()),
    }


def report(
    rows: dict[str, list[dict[str, float]]],
    gates: dict[str, bool],
    job: JobSpec,
    compute: torch.dtype,
    documents: Sequence[Example],
) -> dict[str, object]:
    """What is printed. Tokens are those of the documents: neither padding nor sharing changes their number."""
    speeds = {name: [row["tokens_per_second"] for row in arm[1:]] for name, arm in rows.items()}
    ratios = [ours / plain for ours, plain in zip(speeds["luthier"], speeds["plain"], strict=True)]
    arms = {
        name: {
            "median_tokens_per_second": round(statistics.median(values), 1),
            "min_tokens_per_second": round(min(values), 1),
            "max_tokens_per_second": round(max(values), 1),
            "losses": [round(row["loss"], 4) for row in rows[name]],
            "grad_norms": [round(row["grad_norm"], 4) for row in rows[name]],
        }
        for name, values in speeds.items()
    }
    return {
        "benchmark": "training",
        "base_model": job.base_model,
        "num_documents": len(documents),
        "num_tokens": sum(len(document.input_ids) for document in documents),
        "compute": str(compute).removeprefix("torch."),
        "num_threads": torch.get_num_threads(),
        "arms": arms,
        "median_speedup": round(statistics.median(ratios), 2),
        "gates": gates,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


if __name__ == "__main__":
    sys.exit(main())
