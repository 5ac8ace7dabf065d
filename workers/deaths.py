"""Why a runner died without an outcome: disk lost, memory gone, killed by somebody, or its own fault."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.v1.failure_pb2 import Failure, FailureClass

# How a runner leaves that cannot write its outcome, by the class of the reason (sysexits.h).
EXIT_STATUS: Mapping[FailureClass, int] = {
    FailureClass.FAILURE_CLASS_STORAGE_FULL: os.EX_CANTCREAT,
    FailureClass.FAILURE_CLASS_UNAVAILABLE: os.EX_IOERR,
}

# A shell between us and the process that was killed says 128 + the signal's number.
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@dataclass(frozen=True)
class Death:
    """What is known of the end of a runner."""

    exit_code: int
    """As in `subprocess`: negative for a signal."""
    was_killed: bool
    """Whether we killed it."""
    kernel_killed: bool | None
    """Whether the kernel has killed something for want of memory meanwhile; None when it does not say."""
    work_dir: Path
    tail: str
    """Its last words."""

    def failure(self) -> Failure:
        """The failure that stands for it."""
        failure_class, message = self._reason()
        return Failure(failure_class=failure_class, message=message, detail=self.tail)

    def _reason(self) -> tuple[FailureClass, str]:
        if not self.work_dir.is_dir() or self.exit_code == EXIT_STATUS[FailureClass.FAILURE_CLASS_UNAVAILABLE]:
            return (
                FailureClass.FAILURE_CLASS_UNAVAILABLE,
                f"the runner lost its folder {self.work_dir}; see to the disk below it, then the stage goes on",
            )
        if self.exit_code == EXIT_STATUS[FailureClass.FAILURE_CLASS_STORAGE_FULL]:
            return (
                FailureClass.FAILURE_CLASS_STORAGE_FULL,
                f"no space left in {self.work_dir}; free space, then the stage goes on",
            )
        if self.exit_code in _KILLED and not self.was_killed:
            if self.kernel_killed is False:
                return (
                    FailureClass.FAILURE_CLASS_LOST_WORKER,
                    "the runner was killed from outside; the kernel counts no lack of memory. The stage is tried again",
                )
            return (
                FailureClass.FAILURE_CLASS_OUT_OF_MEMORY,
                "the machine ran out of memory and the kernel killed the runner; if smaller forward passes do not "
                "help, lower training.per_device_train_batch_size or training.pack_length, or use a larger worker",
            )
        if self.exit_code < 0:
            how = f"was ended by {signal.Signals(-self.exit_code).name}"
        else:
            how = f"left with exit status {self.exit_code}"
        return (
            FailureClass.FAILURE_CLASS_INTERNAL,
            f"the runner {how} without saying how the stage ended; its last words are in the detail",
        )
