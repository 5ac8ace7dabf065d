"""The probe decides by what it measures."""

import pytest
import torch

from workers.training import precision

CPU = torch.device("cpu")


def test_a_named_precision_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gemm_seconds", None)
    assert precision.choose_dtype("bf16", CPU) is torch.bfloat16
    assert precision.choose_dtype("fp32", CPU) is torch.float32


@pytest.mark.parametrize(("slow", "chosen"), [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)])
def test_auto_takes_the_faster_one(slow: torch.dtype, chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gemm_seconds", lambda dtype, _: 2.0 if dtype is slow else 1.0)
    assert precision.choose_dtype("auto", CPU) is chosen


def test_the_probe_measures() -> None:
    assert 0.0 < precision.gemm_seconds(torch.float32, CPU) < 5.0
