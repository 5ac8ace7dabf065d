import os
import signal
from pathlib import Path

import pytest

from luthier.v1.failure_pb2 import FailureClass
from workers.deaths import Death

KILL = -signal.SIGKILL
OUT_OF_MEMORY = FailureClass.FAILURE_CLASS_OUT_OF_MEMORY
LOST_WORKER = FailureClass.FAILURE_CLASS_LOST_WORKER
INTERNAL = FailureClass.FAILURE_CLASS_INTERNAL


@pytest.mark.parametrize(
    ("exit_code", "was_killed", "kernel_killed", "failure_class"),
    [
        (KILL, False, True, OUT_OF_MEMORY),
        (KILL, False, False, LOST_WORKER),
        (KILL, False, None, OUT_OF_MEMORY),
        (137, False, True, OUT_OF_MEMORY),
        (137, False, False, LOST_WORKER),
        (KILL, True, True, INTERNAL),
        (-signal.SIGSEGV, False, True, INTERNAL),
        (1, False, True, INTERNAL),
        (os.EX_CANTCREAT, False, False, FailureClass.FAILURE_CLASS_STORAGE_FULL),
        (os.EX_IOERR, False, False, FailureClass.FAILURE_CLASS_UNAVAILABLE),
    ],
)
def test_the_class_of_a_death(tmp_path: Path, exit_code, was_killed, kernel_killed, failure_class):
    failure = Death(exit_code, was_killed, kernel_killed, tmp_path, "last words").failure()
    assert failure.failure_class == failure_class
    assert failure.detail == "last words"


def test_a_folder_that_is_gone_explains_every_death_and_is_named(tmp_path: Path):
    failure = Death(KILL, False, True, tmp_path / "gone", "").failure()
    assert failure.failure_class == FailureClass.FAILURE_CLASS_UNAVAILABLE
    assert str(tmp_path / "gone") in failure.message
