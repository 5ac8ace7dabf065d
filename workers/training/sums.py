"""Figures of many forward passes, added up where they are computed and read once: reading one makes the host wait for
all that the accelerator still has to do.

Sums are in fp64, as sums of Python's numbers are: on a CPU they have the same bits.
"""

from collections.abc import Mapping

import torch


class Sums:
    """Figures by name."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, figures: Mapping[str, torch.Tensor], *, divided_by: float = 1.0) -> None:
        """Adds scalars, on one device, of any dtype; a gradient is not kept."""
        for name, value in figures.items():
            share = value.detach().double() / divided_by
            self._sums[name] = self._sums[name] + share if name in self._sums else share

    def read(self) -> dict[str, float]:
        """What they have come to, once the device is done; nothing if nothing was added."""
        if not self._sums:
            return {}
        return dict(zip(self._sums, torch.stack([*self._sums.values()]).tolist(), strict=True))
