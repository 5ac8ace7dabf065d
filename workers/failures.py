"""How a stage says why it failed. The class decides what the coordinator does next."""

import traceback
from collections.abc import Sequence
from pathlib import Path

from luthier.artifacts import ArtifactError
from luthier.v1.failure_pb2 import Failure, FailureClass
from workers.causes import FULL, LOST, chain, lacks_memory, place_of, says

_MAX_DETAIL = 8000


class StageError(Exception):
    """Raised by a stage. The message names the place and the remedy."""

    def __init__(self, failure_class: FailureClass, message: str) -> None:
        super().__init__(message)
        self.failure_class = failure_class


class ConfigError(StageError):
    """The job file asks for something that cannot be done."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureClass.FAILURE_CLASS_CONFIG, message)


class DataError(StageError):
    """The dataset is missing, unreadable or unusable."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureClass.FAILURE_CLASS_DATA, message)


class DivergedError(StageError):
    """The loss became NaN or infinite."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureClass.FAILURE_CLASS_DIVERGED, message)


class DependencyError(StageError):
    """Something the stage needs does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureClass.FAILURE_CLASS_UNAVAILABLE, message)


class PreemptedError(StageError):
    """The worker was asked to leave; the stage stopped at a checkpoint."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureClass.FAILURE_CLASS_PREEMPTED, message)


def classify(error: BaseException, places: Sequence[Path] = ()) -> Failure:
    """The failure that stands for any exception out of a stage.

    What the machine did counts before what the stage made of it: a dataset on a disk that is lost is no bad dataset.

    Args:
        error: what was raised.
        places: folders that were there when the stage began; one that is gone is a lost disk.
    """
    detail = "".join(traceback.format_exception(error))[-_MAX_DETAIL:]
    failure_class, message = _machine(error, places) or _stage(error)
    return Failure(failure_class=failure_class, message=message, detail=detail)


def _machine(error: BaseException, places: Sequence[Path]) -> tuple[FailureClass, str] | None:
    for link in chain(error):
        if isinstance(link, StageError):
            continue  # its text may quote anything
        if says(link, FULL):
            what = place_of(link) or "an artifact"
            message = f"no space left while writing {what}; free space, then the stage goes on"
            return FailureClass.FAILURE_CLASS_STORAGE_FULL, message
        if says(link, LOST):
            what = place_of(link) or "a disk that the stage uses"
            message = f"{what} cannot be used any more ({link}); see to the disk, then the stage goes on"
            return FailureClass.FAILURE_CLASS_UNAVAILABLE, message
        if lacks_memory(link):
            message = (
                "out of memory; if smaller forward passes do not help, "
                "lower training.per_device_train_batch_size or training.pack_length"
            )
            return FailureClass.FAILURE_CLASS_OUT_OF_MEMORY, message
    for place in places:
        if not place.is_dir():
            message = f"the folder {place} is gone; see to the disk that it was on, then the stage goes on"
            return FailureClass.FAILURE_CLASS_UNAVAILABLE, message
    return None


def _stage(error: BaseException) -> tuple[FailureClass, str]:
    if isinstance(error, StageError):
        return error.failure_class, str(error)
    if isinstance(error, ArtifactError):
        return FailureClass.FAILURE_CLASS_DATA, str(error)
    return FailureClass.FAILURE_CLASS_INTERNAL, f"{type(error).__name__}: {error}"
