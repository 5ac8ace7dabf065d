"""The arm of rank_memory.py: one rank, from an empty process to a divided model with its optimizer.

Arguments: folder of the model, method, strategy, `early` or `late`, rank, number of ranks, file to meet at. It prints
bytes as JSON: `peak` and `kept` are of its own memory, above what it had before; `mapped` are pages of files.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from luthier.spec import FullSpec, LoraSpec, TrainingSpec
from luthier.spec.distributed import DistributedSpec
from workers.training.distributed.strategies import make_strategy
from workers.training.distributed.world import World, joined
from workers.training.methods import METHODS
from workers.training.optimizers import make_optimizer, trainable_parameters

_LOOK_SECONDS = 0.002
SPECS: dict[str, FullSpec | LoraSpec] = {"full": FullSpec(type="full"), "lora": LoraSpec()}
STRATEGIES: dict[str, dict[str, Any]] = {"fsdp": {"type": "fsdp"}, "zero3": {"type": "zero", "stage": 3}}


def main() -> None:
    """In fp32, as masters of full fine-tuning are, whatever the model is stored in; in bf16 for LoRA."""
    folder, method, strategy, how, rank, size, store = sys.argv[1:]
    os.environ["LOCAL_RANK"] = rank  # as torchrun does, for DeepSpeed
    with joined(int(rank), int(size), Path(store)) as world:
        section = TypeAdapter(DistributedSpec).validate_python(STRATEGIES[strategy])
        before = _memory()
        with _watched() as peaks:
            keep = load(Path(folder), method, section, world, late=how == "late")
        after = _memory()
    assert keep
    own, mapped = (high - low for high, low in zip(peaks, before, strict=True))
    print(json.dumps({"rank": world.rank, "peak": own, "kept": after[0] - before[0], "mapped": mapped}))


def load(folder: Path, method: str, section: DistributedSpec, world: World, *, late: bool) -> list[Any]:
    """As workers/training/stage.py and the engine begin a run; all that has to stay."""
    spec, row = SPECS[method], METHODS[method]
    strategy = make_strategy(world, section)
    loads = row.load_unread if late else row.load
    assert loads is not None
    model: Any = row.adapt(loads(folder, torch.bfloat16, torch.device("cpu"), spec), spec)
    strategy.divide(model, torch.bfloat16)
    parameters = trainable_parameters(model)
    optimizer = make_optimizer(parameters, TrainingSpec())
    strategy.attach(model, parameters, optimizer, 1.0)
    return [model, optimizer, strategy]


@contextmanager
def _watched() -> Iterator[list[int]]:
    """The highest memory of both kinds, looked at all the time: the kernel keeps no peak of a process's own."""
    peaks = [0, 0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            peaks[:] = map(max, peaks, _memory())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield peaks
    done.set()
    thread.join()
    peaks[:] = map(max, peaks, _memory())


def _memory() -> tuple[int, int]:
    """Resident bytes of this process: its own, and pages of files."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (1024 * int(lines[name].split()[0]) for name in ("RssAnon", "RssFile"))
    return own, mapped


if __name__ == "__main__":
    main()
