"""One thread per operation: the tiny runs have nothing to share out, and other processes want the machine too. And
ranks, started by one process for all tests (distributed/zygote.py)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import torch

ROOT = Path(__file__).parents[4]


class Launch(Protocol):
    """See `launch`."""

    def __call__(self, num_ranks: int, function: str, folder: Path, seconds: int = ...) -> list[int]: ...


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """A function that has so many ranks call "module:name" with a folder and their world; their exit statuses.

    Ranks that wait for each other for ever are ended before the test is, or no other test would get any.
    """
    log = tmp_path_factory.mktemp("zygote") / "stderr"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "tests.unit.workers.training.distributed.zygote"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def start(num_ranks: int, function: str, folder: Path, seconds: int = 270) -> list[int]:
        request = {"num_ranks": num_ranks, "function": function, "folder": str(folder), "seconds": seconds}
        print(json.dumps(request), file=requests, flush=True)
        answer = answers.readline()
        print(log.read_text()[-6000:])  # pytest shows it where a test fails
        statuses: list[int] = json.loads(answer)
        return statuses

    yield start
    process.kill()
    process.wait()
