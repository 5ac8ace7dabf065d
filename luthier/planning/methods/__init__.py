"""The arithmetic of each method of the job file. A new method is one function and one row in `ADAPTATIONS`; one without
a row is named as not known instead of being guessed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from luthier.planning.methods.base import Adaptation, Beside, UnknownMethodError
from luthier.planning.methods.beside_blocks import bottleneck, prefix_tuning, prompt_tuning
from luthier.planning.methods.low_rank import adalora, lora, qlora
from luthier.planning.methods.mixture import Expert, read_expert, xlora
from luthier.planning.methods.own_weights import freeze, full, hft
from luthier.planning.methods.scaling import ia3, oft
from luthier.planning.methods.sparse import spiel
from luthier.planning.shape import ModelShape
from luthier.spec import MethodSpec, XloraSpec

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
    "spiel": spiel,
}
_UNKNOWN = {
    "custom": "what method.type custom makes of a model is known to its function alone, so neither memory nor time can "
    "be planned",
    "xlora": "the adapters of method.experts are not on this machine, and their ranks stand in their files",
}
"""Why there is no arithmetic for a method, where there cannot be any."""


def adapt(shape: ModelShape, method: MethodSpec, experts: Sequence[Expert] = ()) -> Adaptation:
    """What `method` makes of a model.

    Args:
        shape: of the model.
        method: the job's section.
        experts: the adapters that `method.type: xlora` mixes; none: they are not known.

    Raises:
        UnknownMethodError: there is no arithmetic for it.
        InvalidRequestError: it names layers that the model does not have.
    """
    if isinstance(method, XloraSpec) and experts:
        return xlora(shape, method, experts)
    if method.type not in ADAPTATIONS:
        reason = _UNKNOWN.get(method.type, f"no arithmetic for method.type {method.type!r} yet")
        raise UnknownMethodError(f"{reason}. The job runs all the same")
    return ADAPTATIONS[method.type](shape, method)


__all__ = ["ADAPTATIONS", "Adaptation", "Beside", "Expert", "UnknownMethodError", "adapt", "read_expert"]
