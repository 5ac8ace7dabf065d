"""Figures that are summed where they are computed have the bits that Python's own sums have."""

import math

import torch

from workers.training.sums import Sums


def test_sums_have_the_bits_of_python_s_own() -> None:
    torch.manual_seed(0)
    values = torch.randn(50) * 10 ** torch.randint(-6, 6, (50,)).float()
    sums, plain, mean = Sums(), 0.0, 0.0
    for value in values:
        sums.add({"sum": value})
        sums.add({"mean": value, "count": torch.tensor(True)}, divided_by=7.3)
        plain += value.item()
        mean += value.item() / 7.3
    read = sums.read()
    assert list(read) == ["sum", "mean", "count"]
    assert (read["sum"], read["mean"]) == (plain, mean)


def test_what_is_no_number_stays_so() -> None:
    weight = torch.ones((), requires_grad=True)
    sums = Sums()
    for factor in (1.0, math.inf, -math.inf):
        sums.add({"loss": weight * factor})
    assert math.isnan(sums.read()["loss"])


def test_without_any_nothing_is_read() -> None:
    assert Sums().read() == {}
