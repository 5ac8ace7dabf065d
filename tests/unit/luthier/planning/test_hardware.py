"""What training reaches of a machine's speed."""

import pytest

from luthier.planning.hardware import Hardware


def _machine(kind, bf16, fp32):
    return Hardware(
        name="m", kind=kind, memory_gib=8, bf16_tflops=bf16, fp32_tflops=fp32, bandwidth_gb_s=10, efficiency=0.5
    )


@pytest.mark.parametrize(("kind", "slow"), [("cpu", 0.2), ("gpu", 0.125)])
def test_on_a_cpu_a_slower_dtype_loses_less_beside_its_products(kind, slow):
    machine = _machine(kind, 1.0, 0.25)
    assert machine.flops(2) == pytest.approx(0.5e12)
    assert machine.flops(4) == pytest.approx(slow * 1e12)


def test_where_bf16_is_emulated_fp32_is_the_quicker_one():
    machine = _machine("cpu", 0.25, 1.0)
    assert machine.flops(4) == pytest.approx(0.5e12)
    assert machine.flops(2) == pytest.approx(0.2e12)
