"""Bytes that a forward pass keeps for its backward pass: tensor by tensor what autograd saves in our own step.

Sources: workers/training/attention.py and forward.py for what is computed; for which operation keeps what, PyTorch's
tools/autograd/derivatives.yaml. tests/unit/luthier/planning/test_activations.py counts the real ones with
`torch.autograd.graph.saved_tensors_hooks`. Compare Korthikanti et al., 2022 (arXiv:2205.05198), equation 1, which
counts the layers of Megatron.
"""

from luthier.planning.adaptation import Adaptation
from luthier.planning.shape import ModelShape
from luthier.planning.workload import Workload

_MATMUL_TOKENS = 256
"""Documents of up to that length attend by explicit products on a CPU (attention.py); longer ones by a fused kernel."""
_FP32 = 4
_SOURCES = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "attention") | dict.fromkeys(("gate_proj", "up_proj"), "mlp")
"""What layers read that share their input."""


def block_bytes(
    shape: ModelShape, adaptation: Adaptation, work: Workload, compute_bytes: int, *, on_cpu: bool
) -> float:
    """Of one block of the decoder, for `work.row_tokens` tokens."""
    low = compute_bytes < _FP32
    has_masters = adaptation.num_masters > 0
    hidden, inner, queries, keys = shape.hidden, shape.intermediate, shape.query_width, shape.key_width
    # A norm keeps its input in fp32 and, where its scale is trained, the normalised input besides.
    norms = _FP32 * hidden * (shape.num_norms + adaptation.num_norms) + _FP32 * shape.num_norms
    products = compute_bytes * _inputs(shape, adaptation, compute_bytes)
    # Queries, keys and values as they come out of the rotation, and again side by side, padded.
    rotated = (_FP32 * (queries + keys) if has_masters and low else compute_bytes * (queries + keys)) + (
        compute_bytes * keys
    )
    padded = compute_bytes * (queries + 2 * keys) * work.padding
    if on_cpu and work.document_tokens <= _MATMUL_TOKENS:
        # The softmax in fp32, and what of it the product with the values reads.
        weights = shape.num_heads * work.document_tokens * work.padding * (_FP32 + (compute_bytes if low else 0))
    else:
        # FlashAttention's outputs and one logarithm per head (Dao et al., 2022, arXiv:2205.14135).
        weights = work.padding * (compute_bytes * queries + _FP32 * shape.num_heads)
    # The gate before and after its activation, and what it is multiplied with.
    gated = compute_bytes * 3 * inner
    low_rank = compute_bytes * sum(adaptation.ranks.values())
    # On a CPU dropout keeps its mask as factors, elsewhere as bytes.
    masks = (compute_bytes if on_cpu else 1) * _dropped(shape, adaptation)
    return work.row_tokens * (norms + products + rotated + padded + weights + gated + low_rank + masks)


def cast_bytes(adaptation: Adaptation, compute_bytes: int) -> float:
    """Copies of fp32 masters in the compute dtype, made by autocast and kept until the backward pass has used them."""
    return compute_bytes * adaptation.num_cast if compute_bytes < _FP32 else 0.0


def activation_bytes(
    shape: ModelShape,
    adaptation: Adaptation,
    work: Workload,
    compute_bytes: int,
    *,
    on_cpu: bool = True,
    recomputed: float = 0.0,
) -> float:
    """Of all blocks, without the loss.

    `recomputed` is the part of the blocks with activation checkpointing (Chen et al., 2016, arXiv:1604.06174): of them
    only the input is kept, and one at a time is there whole.
    """
    num_blocks = shape.num_layers * adaptation.part_of_blocks
    one = block_bytes(shape, adaptation, work, compute_bytes, on_cpu=on_cpu)
    stream = _FP32 if adaptation.num_masters else compute_bytes
    inputs = num_blocks * recomputed * stream * shape.hidden * work.row_tokens
    return num_blocks * (1 - recomputed) * one + inputs + (one if recomputed else 0.0)


def loss_bytes(shape: ModelShape, work: Workload) -> float:
    """fp32 log-probabilities of the targets, which the loss keeps (workers/training/objectives/sft.py)."""
    return _FP32 * shape.vocabulary * work.num_targets


def loss_transient_bytes(shape: ModelShape, work: Workload) -> float:
    """What the backward pass of the loss has besides: two gradients of that size."""
    return 2 * loss_bytes(shape, work)


def _inputs(shape: ModelShape, adaptation: Adaptation, compute_bytes: int) -> float:
    """Elements per token that linear layers keep of their inputs: those that are trained or have an adapter.

    Layers that read the same tensor share what is kept; but autocast makes a copy for each layer of an fp32 tensor,
    and dropout makes one for each adapter.
    """
    kept = 0.0
    seen: set[str] = set()
    for part in shape.block_linears(0):
        name = part.name.rpartition(".")[2]
        source = _SOURCES.get(name, name)
        if name in adaptation.trained:
            is_shared = compute_bytes == _FP32
        elif name in adaptation.ranks:
            is_shared = not adaptation.dropout
        else:
            continue
        if is_shared and source in seen:
            continue
        seen.add(source)
        kept += part.num_in
    return kept


def _dropped(shape: ModelShape, adaptation: Adaptation) -> float:
    """Elements per token that dropout goes over."""
    if not adaptation.dropout:
        return 0.0
    return sum(part.num_in for part in shape.block_linears(0) if part.name.rpartition(".")[2] in adaptation.ranks)
