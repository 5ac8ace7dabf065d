"""The probe decides by what it measures."""

import pytest
import torch

from workers.failures import ConfigError
from workers.training import precision

CPU = torch.device("cpu")


def test_a_named_precision_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gemm_seconds", None)
    assert precision.choose_dtype("bf16", CPU) is torch.bfloat16
    assert precision.choose_dtype("fp16", CPU) is torch.float16
    assert precision.choose_dtype("fp32", CPU) is torch.float32


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({torch.float32: 3.0, torch.bfloat16: 2.0, torch.float16: 1.0}, torch.bfloat16),
        ({torch.float32: 2.0, torch.bfloat16: 3.0, torch.float16: 1.0}, torch.float16),
        ({torch.float32: 1.0, torch.bfloat16: 3.0, torch.float16: 2.0}, torch.float32),
    ],
)
def test_auto_takes_the_fastest_but_fp16_only_without_bf16(
    seconds: dict[torch.dtype, float], chosen: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "gemm_seconds", lambda dtype, _: seconds[dtype])
    assert precision.choose_dtype("auto", CPU) is chosen


def test_auto_takes_no_fp16_where_the_loss_cannot_be_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {torch.float32: 2.0, torch.bfloat16: 3.0, torch.float16: 1.0}
    monkeypatch.setattr(precision, "gemm_seconds", lambda dtype, _: seconds[dtype])
    assert precision.choose_dtype("auto", CPU, may_scale=False) is torch.float32
    seconds[torch.bfloat16] = 1.5
    assert precision.choose_dtype("auto", CPU, may_scale=False) is torch.bfloat16


def test_the_probe_measures() -> None:
    assert 0.0 < precision.gemm_seconds(torch.float32, CPU) < 5.0


def test_fp32_means_fp32() -> None:
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_recorded_dtype_is_taken_up() -> None:
    assert precision.recorded_dtype("float32", CPU) is torch.float32
    assert precision.recorded_dtype("bfloat16", CPU) is torch.bfloat16
    assert precision.recorded_dtype("float16", CPU) is torch.float16


def test_a_recorded_dtype_that_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> float:
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(precision, "gemm_seconds", lacking)
    with pytest.raises(
        ConfigError, match=r"began in bfloat16.*cannot compute \(not implemented.*worker like the first"
    ):
        precision.recorded_dtype("bfloat16", CPU)
    with pytest.raises(ConfigError, match=r"began in float4.*not known here"):
        precision.recorded_dtype("float4", CPU)
