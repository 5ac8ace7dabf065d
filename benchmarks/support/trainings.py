"""The arms of a training benchmark: processes that print one JSON object, and that must have trained the same."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.settings import WorkerSettings

LOSS_TOLERANCE = 0.03
"""Relative, of every step's loss; bf16 keeps eight bits."""
_FOLDER = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> dict[str, Any]:
    """What a process of an arm printed last. Our own arms have the environment that a worker gives to its runners;
    the others what the caller has."""
    environment = {
        **(WorkerSettings().runner_environment() if script.endswith("_luthier.py") else os.environ),
        "PYTHONPATH": f"{_FOLDER}{os.pathsep}{_FOLDER.parent}",
        "TOKENIZERS_PARALLELISM": "false",
    }
    command = [sys.executable, str(_FOLDER / "arms" / script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{script} left with {done.returncode}:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def judge(arms: Mapping[str, dict[str, Any]]) -> dict[str, bool]:
    """Whether the arms trained, and trained the same."""
    ours = arms["luthier"]
    return {
        "gradients_are_not_zero": all(norm > 0 for arm in arms.values() for norm in arm["grad_norms"]),
        "losses_fall": all(arm["losses"][-1] < arm["losses"][0] for arm in arms.values()),
        "as_many_parameters": len({arm["num_trainable_parameters"] for arm in arms.values()}) == 1,
        "losses_agree": all(
            abs(theirs - our) <= LOSS_TOLERANCE * our
            for arm in arms.values()
            for our, theirs in zip(ours["losses"], arm["losses"], strict=True)
        ),
    }
