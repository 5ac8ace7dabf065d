"""Bytes that a forward pass keeps for its backward pass: tensor by tensor what autograd saves in our own step.

Sources: workers/training/kernels/grouped.py and forward.py for what is computed; for which operation keeps what,
PyTorch's tools/autograd/derivatives.yaml. tests/unit/luthier/planning/test_live.py counts the real ones. Compare
Korthikanti et al., 2022 (arXiv:2205.05198), equation 1, which counts the layers of Megatron.
"""

from luthier.planning.methods import Adaptation, Beside
from luthier.planning.shape import Linear, ModelShape
from luthier.planning.workload import Workload

_MATMUL_TOKENS = 256
"""Documents of up to that length attend by explicit products on a CPU (kernels/grouped.py); longer ones by a fused
kernel."""
_FP32 = 4
_SOURCES = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "attention") | dict.fromkeys(("gate_proj", "up_proj"), "mlp")
"""What layers read that share their input."""


def block_bytes(
    shape: ModelShape, adaptation: Adaptation, work: Workload, compute_bytes: int, *, on_cpu: bool
) -> float:
    """Of one block of the decoder."""
    inner, queries, keys = shape.intermediate, shape.query_width, shape.key_width
    norms = _norms_bytes(shape, adaptation, work, compute_bytes, on_cpu=on_cpu)
    # Queries and keys as they come out of the rotation. Embeddings that are trained are fp32, and so are the cosines of
    # the rotation. Values as they come out of their layer, with all else that comes out of it; and all three again side
    # by side, padded.
    rotated = _stream_bytes(adaptation, compute_bytes) * (queries + keys)
    rotated += compute_bytes * (queries + 2 * keys if shape.is_fused else keys)
    seen = 1 + _before(adaptation, work) / work.document_tokens
    padded = compute_bytes * (queries + 2 * keys * seen) * work.padding
    # The gate before and after its activation, and what it is multiplied with.
    gated = compute_bytes * 3 * inner
    extra = compute_bytes * adaptation.extra_width
    own = norms + rotated + padded + gated + extra + _attention_bytes(shape, adaptation, work, compute_bytes, on_cpu)
    beside = _beside_bytes(shape, adaptation, compute_bytes, on_cpu=on_cpu)
    return row_tokens(adaptation, work) * (own + beside)


def row_tokens(adaptation: Adaptation, work: Workload) -> int:
    """Tokens that go through the blocks in one pass."""
    return work.row_tokens + (adaptation.num_virtual_tokens if adaptation.lengthens_row else 0)


def _before(adaptation: Adaptation, work: Workload) -> int:
    """Keys that every document sees before its own."""
    return work.num_shared + adaptation.num_virtual_tokens


def derived_bytes(adaptation: Adaptation, compute_bytes: int) -> float:
    """What a forward pass makes of trained weights and keeps: in fewer bits than fp32 a copy of each matrix (autocast),
    matrices that it puts together, and rotations."""
    casts = compute_bytes * (adaptation.num_cast + adaptation.num_added) if compute_bytes < _FP32 else 0.0
    return casts + compute_bytes * adaptation.num_merged + adaptation.rotation_bytes.get(compute_bytes, 0.0)


def activation_bytes(
    shape: ModelShape,
    adaptation: Adaptation,
    work: Workload,
    compute_bytes: int,
    *,
    on_cpu: bool = True,
    recomputed: float = 0.0,
) -> float:
    """Of all blocks and the last norm, without the loss.

    `recomputed` is the part of the blocks with activation checkpointing (Chen et al., 2016, arXiv:1604.06174): of them
    only the input is kept.
    """
    num_blocks = shape.num_layers * adaptation.part_of_blocks
    one = block_bytes(shape, adaptation, work, compute_bytes, on_cpu=on_cpu)
    tokens = row_tokens(adaptation, work)
    inputs = num_blocks * recomputed * _stream_bytes(adaptation, compute_bytes) * shape.hidden * tokens
    last = compute_bytes * shape.hidden * work.num_targets if adaptation.trains_output else 0.0
    # The last norm keeps its input. The first one of all that is learned from does not, if nothing is learned below.
    each = _frozen_norm_bytes(shape, adaptation, work, compute_bytes, on_cpu=on_cpu)
    norms = each * shape.hidden * tokens * (1 if adaptation.part_of_blocks == 1 else recomputed)
    return num_blocks * (1 - recomputed) * one + inputs + norms + last


def passing_bytes(shape: ModelShape, adaptation: Adaptation, work: Workload, compute_bytes: int) -> float:
    """What the backward pass of a block has at a time beside what was kept: gradients of the MLP's three inner tensors,
    by when the input of an adapter beside the last layer is gone.

    By the time that attention has its own, what the MLP had kept is gone.
    """
    gone = 1.0 if "down_proj" in adaptation.layers and adaptation.layers["down_proj"].rank else 0.0
    return row_tokens(adaptation, work) * (3.0 - gone) * compute_bytes * shape.intermediate


def _norms_bytes(
    shape: ModelShape, adaptation: Adaptation, work: Workload, compute_bytes: int, *, on_cpu: bool
) -> float:
    """Per token: of each norm its input and one number in fp32. One whose scale is trained keeps its input in fp32 and
    the normalised input besides."""
    trained = adaptation.num_norms / shape.num_norms
    frozen_bytes = (1 - trained) * _frozen_norm_bytes(shape, adaptation, work, compute_bytes, on_cpu=on_cpu)
    wide = shape.hidden * (frozen_bytes + trained * (_FP32 + _stream_bytes(adaptation, compute_bytes)))
    narrow = shape.head_dim * (frozen_bytes + trained * (_FP32 + compute_bytes))
    return shape.num_norms * (wide + _FP32) + shape.num_normed_heads * (narrow + _FP32)


def _frozen_norm_bytes(
    shape: ModelShape, adaptation: Adaptation, work: Workload, compute_bytes: int, *, on_cpu: bool
) -> int:
    """Per element of what goes into a norm whose scale is frozen: as it is, where workers/training/kernels/norms.py
    computes it; else in fp32."""
    is_ours = on_cpu and not work.by_transformers and not shape.adds_to_scale and not adaptation.trains_embeddings
    return compute_bytes if is_ours else _FP32


def _stream_bytes(adaptation: Adaptation, compute_bytes: int) -> int:
    """Per element of what goes from block to block: in fp32 where the embeddings, being trained, are."""
    return _FP32 if adaptation.trains_embeddings else compute_bytes


def _attention_bytes(
    shape: ModelShape, adaptation: Adaptation, work: Workload, compute_bytes: int, on_cpu: bool
) -> float:
    """Per token: what the product of the weights with the values, and that of queries and keys, keep."""
    if on_cpu and work.document_tokens <= _MATMUL_TOKENS:
        # The weights, which softmax and the product with the values share.
        num_keys = work.document_tokens + _before(adaptation, work)
        return shape.num_heads * num_keys * work.padding * compute_bytes
    # FlashAttention's outputs and one logarithm per head (Dao et al., 2022, arXiv:2205.14135).
    return work.padding * (compute_bytes * shape.query_width + _FP32 * shape.num_heads)


def _beside_bytes(shape: ModelShape, adaptation: Adaptation, compute_bytes: int, *, on_cpu: bool) -> float:
    """Per token: what is kept of the layers that are trained or have an adapter.

    Layers that read the same tensor share what is kept of it; but autocast makes a copy for each layer of an fp32
    tensor, and dropout makes one for each adapter.
    """
    low = compute_bytes < _FP32
    total = 0.0
    shared: dict[str, float] = {}
    for part in shape.block_linears(0):
        name = part.name.rpartition(".")[2]
        if name not in adaptation.layers:
            continue
        layer = adaptation.layers[name]
        wide = layer.num_outputs + (layer.num_low_outputs if low else 0)
        total += layer.share * compute_bytes * (layer.rank + wide * part.num_out)
        if layer.reads == "shared" or (layer.reads == "own" and not low):
            source = _SOURCES.get(name, name)
            shared[source] = max(shared.get(source, 0.0), layer.share * compute_bytes * part.num_in)
        else:
            total += layer.share * _input_bytes(layer, part, compute_bytes, on_cpu=on_cpu)
    return total + sum(shared.values())


def _input_bytes(layer: Beside, part: Linear, compute_bytes: int, *, on_cpu: bool) -> float:
    """Per token: of what no other layer shares of a layer's input. On a CPU dropout keeps its mask as factors,
    elsewhere as bytes."""
    mask = compute_bytes if on_cpu else 1
    each = {"nothing": 0, "own": compute_bytes, "dropped": compute_bytes + mask, "exact": _FP32}[layer.reads]
    return float(each * part.num_in)
