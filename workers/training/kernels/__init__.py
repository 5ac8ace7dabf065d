"""Which code computes what on the device of a run: attention, the small layers of a block, and the loss.

Each is a registry (attention.py, layers.py, output_loss.py) whose rows say why they cannot run here, or are tried: what
comes to the numbers of plain PyTorch is taken. On a CPU there is our own way to compute norms and rotary positions, if
it comes to the model's numbers, and cross-entropy. choice.py asks them all.

A kernel that is first met on a new GPU can fail here, which costs speed, but not pass with other numbers.
"""
