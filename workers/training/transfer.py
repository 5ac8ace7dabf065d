"""Tensors on their way from the host to the accelerator, without the host waiting for them.

A copy runs beside the computation only from page-locked memory; torch keeps such memory until the copy is over.
"""

import torch


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor, which is on the CPU, on `device`. On a CPU it is the same one."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
