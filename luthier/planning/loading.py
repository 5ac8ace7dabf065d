"""What ranks hold of a model before their first step: all of it, or each its part.

ZeRO's stage 3 and FSDP divide a model first and read it then, tensor by tensor (workers/models/unread.py). Where that
cannot be, `Question.reads_whole`, every rank reads all of it, and then it is divided.
"""

from luthier.planning.question import Question
from luthier.planning.shape import ModelShape
from luthier.planning.sharding import Sharding

_FP32 = 4


def reads_part(question: Question, sharding: Sharding) -> bool:
    """Whether a rank reads the model tensor by tensor, to keep its part of each."""
    return sharding.stage >= 3 and not question.reads_whole


def loaded_bytes(
    question: Question, sharding: Sharding, weights: float, num_devices: int, *, on_cpu: bool
) -> dict[str, float]:
    """What a rank holds when it loads, on its device or, on a CPU, in its process: weights, and what it reads them by.

    Args:
        question: the job.
        sharding: how the ranks share.
        weights: bytes of all of them, as they are trained with.
        num_devices: ranks.
        on_cpu: whether they train there.
    """
    shape = question.shape
    pages = shape.stored_bytes * shape.num_parameters
    if reads_part(question, sharding):
        own = 0.0 if sharding.offloads_weights and not on_cpu else weights / num_devices
        # With FSDP a rank reads its rows; with ZeRO rank 0 reads a tensor and hands it round.
        share = num_devices if sharding.gathers_blocks else 1
        tensor = 0.0 if sharding.gathers_blocks else _FP32 * _largest(shape)
        return {"weights": own + tensor, "file": pages / share if on_cpu else 0.0}
    if on_cpu:
        return {"weights": weights, "file": pages}
    return {"weights": 0.0 if sharding.loads_on_host else weights}


def host_loading_bytes(question: Question, sharding: Sharding, num_local: int, offloaded: float) -> float:
    """Of the memory of a machine whose ranks train on accelerators, while they load.

    Files are mapped by all ranks alike. Ranks that read all of a model make fp32 masters of it, each for itself; those
    that read a part make them of one tensor at a time.

    Args:
        question: the job.
        sharding: how the ranks share.
        num_local: ranks of the machine.
        offloaded: bytes of weights that its ranks keep there.
    """
    shape = question.shape
    pages = shape.stored_bytes * shape.num_parameters
    if reads_part(question, sharding):
        return pages + offloaded + _FP32 * _largest(shape)
    return pages + _FP32 * question.adaptation.num_trainable * num_local


def _largest(shape: ModelShape) -> int:
    """Elements of the largest tensor."""
    return shape.hidden * max(shape.vocabulary, shape.intermediate)
