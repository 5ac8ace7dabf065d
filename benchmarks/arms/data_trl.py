"""Arms of data_throughput.py that stand on `datasets` and TRL. One JSON object on stdout.

`prepare ROWS OUT PROCESSES HOW`: rows are loaded, checked, cleaned (ftfy, white space; not if HOW is `as-is`) and
deduplicated exactly; leaves
`prepared.parquet` (id, text, messages) in OUT. `finish MODEL OUT KEPT PROCESSES LENGTH MODE`: the rows whose ids are in
KEPT (JSON; `-`: all) are split and made ready as `SFTTrainer` does it, packed (`pack`) or not (`plain`: leaves ids and
masks in `tokens.json`).
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ftfy
from datasets import Dataset, disable_progress_bars, load_dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer


def prepare(rows: str, out: str, processes: str, how: str) -> dict[str, Any]:
    """Everything before near duplicates."""
    folder, num_proc = Path(out), int(processes)
    data = load_dataset("json", data_files=rows, split="train", cache_dir=str(folder / "cache"))
    data = data.map(_cleaned, with_indices=True, num_proc=num_proc, fn_kwargs={"how": how})
    data = data.filter(_is_valid, num_proc=num_proc)
    seen: set[str] = set()

    def is_new(digest: str) -> bool:
        return digest not in seen and not seen.add(digest)  # type: ignore[func-returns-value]

    data = data.select([index for index, digest in enumerate(data["digest"]) if is_new(digest)])
    data.remove_columns("digest").to_parquet(str(folder / "prepared.parquet"))
    return {"num_rows": len(data), "ids": list(data["id"])}


def finish(model: str, out: str, kept: str, processes: str, length: str, mode: str) -> dict[str, Any]:
    """Split, template, tokens, masks, packs."""
    folder = Path(out)
    data = Dataset.from_parquet(str(folder / "prepared.parquet"), cache_dir=str(folder / "cache"))
    if kept != "-":
        chosen = set(json.loads(Path(kept).read_text()))
        data = data.select([index for index, number in enumerate(data["id"]) if number in chosen])
    data = data.map(_halves, remove_columns=["text", "messages"], num_proc=int(processes))
    train = data
    if mode == "pack":
        parts = data.train_test_split(test_size=0.1, seed=0)
        train, rest = parts["train"], parts["test"].train_test_split(test_size=0.5, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        options = SFTConfig(
            output_dir=scratch,
            max_length=int(length),
            packing=mode == "pack",
            eval_packing=False,
            dataset_num_proc=int(processes),
            report_to="none",
            use_cpu=True,
            bf16=False,
        )
        trainer = SFTTrainer(
            model=LlamaForCausalLM(_SMALL),
            args=options,
            train_dataset=train,
            eval_dataset={"validation": rest["train"], "test": rest["test"]} if mode == "pack" else None,
            processing_class=AutoTokenizer.from_pretrained(model, local_files_only=True),
        )
    made = trainer.train_dataset
    if mode == "plain":
        if "labels" in made.column_names:
            masks = [[int(label >= 0) for label in labels] for labels in made["labels"]]
        else:
            masks = list(made["completion_mask"])
        tokens = dict(zip(list(data["id"]), zip(made["input_ids"], masks, strict=True), strict=True))
        (folder / "tokens.json").write_text(json.dumps(tokens))
    return {"num_rows": len(data), "num_packs": len(made)}


# SFTTrainer wants a model before it looks at the rows.
_SMALL = LlamaConfig(
    vocab_size=49152,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    num_key_value_heads=1,
    tie_word_embeddings=True,
)


def _cleaned(row: dict[str, Any], index: int, how: str) -> dict[str, Any]:
    messages = row["messages"]
    if how == "clean":
        messages = [{"role": one["role"], "content": ftfy.fix_text(one["content"]).strip()} for one in messages]
    words = [" ".join(part.split()) for one in messages for part in (one["role"], one["content"])]
    digest = hashlib.blake2b(json.dumps(words).encode(), digest_size=16).hexdigest()
    text = "\n".join(one["content"] for one in messages)
    return {"id": index + 1, "messages": messages, "text": text, "digest": digest}


def _is_valid(row: dict[str, Any]) -> bool:
    roles = [one["role"] for one in row["messages"]]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    alternate = all(role == ("user", "assistant")[place % 2] for place, role in enumerate(turns))
    return bool(turns) and alternate and turns[-1] == "assistant" and all(one["content"] for one in row["messages"])


def _halves(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


PHASES: dict[str, Callable[..., dict[str, Any]]] = {"prepare": prepare, "finish": finish}


def main() -> None:
    """Runs one phase."""
    disable_progress_bars()
    started = time.perf_counter()
    result = PHASES[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"seconds": round(time.perf_counter() - started, 2), **result}))


if __name__ == "__main__":
    main()
