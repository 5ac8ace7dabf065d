"""Saves checkpoints in processes that die of SIGKILL: before each file operation in turn, and at random times.

    python die_while_saving.py FOLDER

One process per death, each in a folder of its own. One line of JSON for each: its folder's `name`, `at` what it died,
the `signal`, and whether it had `told` of the second checkpoint.
"""

import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.unit.workers.training.tiny_run import Recorder, make_store
from workers.training.environment import current_environment
from workers.training.pieces import Piece, wholes
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot
from workers.training.state import Progress

NUM_RANDOM_DEATHS = 40
OPERATIONS = ("open", "fsync", "rename", "mkdir", "unlink", "rmdir")


class Countdown:
    """Kills this process before the `left`th file operation that changes something; counts them if `left` is None."""

    def __init__(self, left: int | None) -> None:
        self.count = 0
        self._left = left

    def install(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self._wrap(getattr(os, name)))
        # What opens files in Python goes through here; what Rust writes lies between two of these.
        sys.addaudithook(self._hook)

    def tick(self) -> None:
        self.count += 1
        if self.count == self._left:
            os.kill(os.getpid(), signal.SIGKILL)

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.tick()
            return function(*arguments, **options)

        return wrapped

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[1], str) and arguments[1] != "r":
            self.tick()


def snapshot(step: int, num_bytes: int) -> Snapshot[Piece]:
    return Snapshot(
        progress=Progress(step=step),
        weights=wholes({"a": torch.full((num_bytes // 4,), float(step))}),
        optimizer=wholes({"a/exp_avg": torch.full((8,), float(step))}),
        rng={"cpu": torch.get_rng_state()},
        environment=current_environment(torch.float32, torch.device("cpu")),
    )


def save_two(folder: Path, between: Callable[[], None], num_bytes: int) -> None:
    """Commits checkpoint 1, calls `between`, commits checkpoint 2."""
    report = Recorder()
    report.checkpoint = lambda ref, step: (folder / f"told-{step}").touch()  # type: ignore[method-assign]
    store = make_store(folder, report)
    store.save(snapshot(1, num_bytes), Position(0, 0))
    store.wait()
    between()
    store.save(snapshot(2, num_bytes), Position(0, 0))
    store.wait()


def die_at_operation(folder: Path, number: int) -> None:
    save_two(folder, Countdown(number).install, 1000)


def die_after(folder: Path, seconds: float) -> None:
    def begin() -> None:
        threading.Thread(target=lambda: (time.sleep(seconds), os.kill(os.getpid(), signal.SIGKILL))).start()

    save_two(folder, begin, 4 << 20)
    signal.pause()


def run(folder: Path, at: str, action: Callable[[Path], None]) -> dict[str, object]:
    """Forks: this process has run no operation of torch yet, so no thread of its own is lost."""
    folder.mkdir()
    child = os.fork()
    if child == 0:
        action(folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    told = (folder / "told-2").exists()
    return {"name": folder.name, "at": at, "signal": os.WTERMSIG(status), "told": told}


def deaths(root: Path) -> Iterator[dict[str, object]]:
    for number in itertools.count(1):
        death = run(root / f"operation-{number}", "operation", partial(die_at_operation, number=number))
        if not death["signal"]:  # there was no such operation any more
            break
        yield death
    rng = random.Random(0)
    for number in range(NUM_RANDOM_DEATHS):
        yield run(root / f"random-{number}", "random", partial(die_after, seconds=rng.uniform(0.0, 0.04)))


if __name__ == "__main__":
    for death in deaths(Path(sys.argv[1])):
        print(json.dumps(death), flush=True)
