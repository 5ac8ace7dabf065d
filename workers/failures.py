"""How a stage says why it failed. The class decides what the coordinator does next."""

import errno
import traceback

from luthier.v1.failure_pb2 import Failure, FailureClass

_MAX_DETAIL = 8000
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


def classify(error: BaseException) -> Failure:
    """The failure that stands for any exception out of a stage."""
    detail = "".join(traceback.format_exception(error))[-_MAX_DETAIL:]
    if isinstance(error, StageError):
        return Failure(failure_class=error.failure_class, message=str(error), detail=detail)
    if _is_full_disk(error):
        what = getattr(error, "filename", None) or "an artifact"
        message = f"no space left while writing {what}; free space, then the stage goes on"
        return Failure(failure_class=FailureClass.FAILURE_CLASS_STORAGE_FULL, message=message, detail=detail)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        message = "out of memory; lower training.per_device_train_batch_size or training.pack_length"
        return Failure(failure_class=FailureClass.FAILURE_CLASS_OUT_OF_MEMORY, message=message, detail=detail)
    message = f"{type(error).__name__}: {error}"
    return Failure(failure_class=FailureClass.FAILURE_CLASS_INTERNAL, message=message, detail=detail)


def _is_full_disk(error: BaseException) -> bool:
    """Whether the system said so. Libraries written in Rust, safetensors among them, only quote its error number."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(f"(os error {number})" in str(error) for number in _FULL)
