"""What a rank takes of the host's memory to load a model: weights that it reads all, and those that it reads in part.

Two ranks, a process each, on the CPU, load a Llama of random weights, as a run of full fine-tuning (fp32 masters of a
model stored in bf16) or of LoRA (of one stored in fp32, used in bf16) begins. `early`: every rank reads the model, then
it is divided; `late`: it is divided, then each rank reads its part (workers/models/unread.py). Peaks are of a process's
own memory, above what it had before; pages of the file, which the kernel may drop, are told apart. The parts that it
has to keep are beside them. One JSON object on stdout, a table on stderr; the exit status is 1 if, with FSDP, a rank
that reads late takes over a quarter more than it has to keep, and 64 MiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from support.figures import table
from transformers import LlamaConfig, LlamaForCausalLM

MIB = 1 << 20
NUM_RANKS = 2
SLACK, SLACK_BYTES = 1.25, 64 * MIB
_ARM = Path(__file__).parent / "arms" / "rank_load.py"


def main() -> int:
    """Runs all arms, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--scratch", type=Path, help="a folder with room for the model")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="luthier-bench-", dir=arguments.scratch) as scratch:
        for method, stored in {"full": torch.bfloat16, "lora": torch.float32}.items():
            model = Path(scratch) / method
            num_parameters = write_model(model, arguments.hidden_size, arguments.layers, stored)
            for strategy in ("fsdp", "zero3"):
                for how in ("early", "late"):
                    store = Path(scratch) / f"{method}-{strategy}-{how}"
                    told = run_ranks(str(model), method, strategy, how, str(NUM_RANKS), store=store)
                    rows += [summarise(one, method, strategy, how, num_parameters) for one in told]
                    print(rows[-NUM_RANKS:], file=sys.stderr)
    late = [row for row in rows if (row["strategy"], row["weights"]) == ("fsdp", "late")]
    fits = all(row["peak_mib"] * MIB <= SLACK * row["share_mib"] * MIB + SLACK_BYTES for row in late)
    print(json.dumps({"benchmark": "rank_memory", "num_ranks": NUM_RANKS, "is_within": fits, "rows": rows}))
    print(table(rows), file=sys.stderr)
    return 0 if fits else 1


def write_model(folder: Path, hidden_size: int, num_layers: int, dtype: torch.dtype) -> int:
    """Saves a Llama of random weights; its number of parameters."""
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 128,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(dtype).save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def run_ranks(*arguments: str, store: Path) -> list[dict[str, int]]:
    """What each rank printed, in the order of ranks."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(_ARM.parents[2]), "GLOO_SOCKET_IFNAME": "lo"}
    model, method, strategy, how, size = arguments
    ranks = [
        subprocess.Popen(
            [sys.executable, str(_ARM), model, method, strategy, how, str(rank), size, str(store)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for rank in range(int(size))
    ]
    try:
        return [_told(rank) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()


def _told(rank: subprocess.Popen[str]) -> dict[str, int]:
    out, errors = rank.communicate()
    if rank.returncode:
        raise SystemExit(f"a rank left with {rank.returncode}:\n{errors[-4000:]}")
    told: dict[str, int] = json.loads(out.splitlines()[-1])
    return told


def summarise(told: Mapping[str, int], method: str, strategy: str, how: str, num_parameters: int) -> dict[str, Any]:
    """In MiB; `share` is this rank's part of the weights, as they are kept."""
    each = 4 if method == "full" else 2
    return {
        "method": method,
        "strategy": strategy,
        "weights": how,
        "rank": told["rank"],
        "peak_mib": round(told["peak"] / MIB),
        "kept_mib": round(told["kept"] / MIB),
        "share_mib": round(each * num_parameters / NUM_RANKS / MIB),
        "file_pages_mib": round(told["mapped"] / MIB),
    }


if __name__ == "__main__":
    sys.exit(main())
