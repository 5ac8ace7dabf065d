"""The arithmetic of each method of the job file. A new method is one function and one row in `ADAPTATIONS`; one without
a row is named as not known instead of being guessed.
"""

from collections.abc import Callable
from typing import Any

from luthier.planning.methods.base import Adaptation, Beside, UnknownMethodError
from luthier.planning.methods.beside_blocks import bottleneck, prefix_tuning, prompt_tuning
from luthier.planning.methods.low_rank import adalora, lora, qlora
from luthier.planning.methods.own_weights import freeze, full, hft
from luthier.planning.methods.scaling import ia3, oft
from luthier.planning.shape import ModelShape
from luthier.spec import MethodSpec

ADAPTATIONS: dict[str, Callable[[ModelShape, Any], Adaptation]] = {
    "lora": lora,
    "qlora": qlora,
    "adalora": adalora,
    "ia3": ia3,
    "oft": oft,
    "full": full,
    "freeze": freeze,
    "hft": hft,
    "bottleneck": bottleneck,
    "prompt_tuning": prompt_tuning,
    "prefix_tuning": prefix_tuning,
}


def adapt(shape: ModelShape, method: MethodSpec) -> Adaptation:
    """What `method` makes of a model.

    Raises:
        UnknownMethodError: there is no arithmetic for it.
        InvalidRequestError: it names layers that the model does not have.
    """
    if method.type not in ADAPTATIONS:
        raise UnknownMethodError(f"no arithmetic for method.type {method.type!r} yet. The job runs all the same")
    return ADAPTATIONS[method.type](shape, method)


__all__ = ["ADAPTATIONS", "Adaptation", "Beside", "UnknownMethodError", "adapt"]
