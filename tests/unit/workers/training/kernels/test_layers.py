"""Liger's layers are those of the model, with every family that the plan knows; without CUDA they are not used."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tests.unit.workers.training.tiny_run import make_base
from workers.training.kernels import layers
from workers.training.kernels.contract import Wanted
from workers.training.kernels.layers import choose_layers

ROOT = Path(__file__).parents[5]
HAS_LIGER = find_spec("liger_kernel") is not None and find_spec("triton") is not None


def _wanted(device: str) -> Wanted:
    return Wanted(torch.device(device), torch.float32, num_heads=4, num_key_heads=2, head_dim=8, has_dropout=False)


def test_on_a_cpu_the_model_keeps_its_own_layers() -> None:
    model = make_base()
    before = [type(part) for part in model.modules()]
    assert choose_layers(model, _wanted("cpu")) == ("transformers", {"liger": "runs on CUDA only, not on cpu"})
    assert [type(part) for part in model.modules()] == before


@pytest.mark.skipif(HAS_LIGER, reason="liger-kernel is installed")
def test_without_the_package_the_reason_says_so() -> None:
    assert choose_layers(make_base(), _wanted("cuda")) == (
        "transformers",
        {"liger": "the package liger-kernel is not installed"},
    )


def test_kernels_that_fail_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_lacks", lambda *_: None)
    monkeypatch.setattr(layers, "_errors", lambda *_: {"RMSNorm": 1e-6, "SwiGLU": 0.5})
    name, passed_over = choose_layers(make_base(), _wanted("cpu"))
    assert (name, passed_over) == ("transformers", {"liger": "its numbers differ: SwiGLU by 5.0e-01"})


@pytest.mark.skipif(not HAS_LIGER, reason="needs the packages liger-kernel and triton (the extra `gpu`)")
def test_every_family_computes_the_same_with_them() -> None:
    """The kernels themselves, interpreted on the CPU: loss and gradients of LoRA."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.workers.training.kernels.liger_on_cpu"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["layers"], found["loss"]) == (None, None)
    assert max(found["families"].values()) < 1e-4, found["families"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available() or not HAS_LIGER, reason="needs a CUDA device and liger-kernel")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_kernels_agree_on_cuda(dtype: torch.dtype) -> None:
    wanted = Wanted(torch.device("cuda"), dtype, num_heads=32, num_key_heads=8, head_dim=128, has_dropout=False)
    assert layers.disagreement(wanted, 4096) is None
