"""Classes by chain and by text; real causes in real runners: test_failure_classes.py."""

import errno
import os
from pathlib import Path

import pytest

from luthier.artifacts import ArtifactError
from luthier.v1.failure_pb2 import FailureClass
from workers.failures import DataError, PreemptedError, classify

FULL = FailureClass.FAILURE_CLASS_STORAGE_FULL
LOST = FailureClass.FAILURE_CLASS_UNAVAILABLE
MEMORY = FailureClass.FAILURE_CLASS_OUT_OF_MEMORY
DATA = FailureClass.FAILURE_CLASS_DATA
INTERNAL = FailureClass.FAILURE_CLASS_INTERNAL


class OutOfMemoryError(RuntimeError):
    """Torch's, by name: nothing here imports torch."""


def system(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        (system(errno.ENOSPC), FULL),
        (system(errno.EDQUOT), FULL),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), FULL),
        (RuntimeError("DaftError::External Unable to write: Disk quota exceeded (os error 122)"), FULL),
        (OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"), FULL),
        (RuntimeError("file write failed: No space left on device"), FULL),
        (system(errno.EIO), LOST),
        (system(errno.ESTALE), LOST),
        (system(errno.ENODEV), LOST),
        (system(errno.EROFS), LOST),
        (RuntimeError("I/O error: Input/output error (os error 5)"), LOST),
        (MemoryError(), MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), MEMORY),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), MEMORY),
        (RuntimeError("CUDA error: out of memory"), MEMORY),
        (RuntimeError("not enough memory: you tried to allocate 17 bytes"), MEMORY),
        (system(errno.ENOMEM), MEMORY),
        (ArtifactError("a is missing or differs from its manifest"), DATA),
        (DataError("rows.jsonl line 3: no space left on device (os error 28), says this row"), DATA),
        (system(errno.ENOENT), INTERNAL),
        (RuntimeError("os error 280"), INTERNAL),
    ],
)
def test_the_class_of_an_exception(error, failure_class):
    assert classify(error).failure_class == failure_class


@pytest.mark.parametrize("kind", [DataError, RuntimeError, PreemptedError])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ENOMEM])
@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_what_the_machine_did_counts_however_deep_it_is_wrapped(kind, number, link):
    outer, middle = kind("cannot be read"), ValueError("in between")
    middle.__cause__ = system(number, "/data/rows.jsonl")
    setattr(outer, link, middle)
    failure = classify(outer)
    assert failure.failure_class == classify(system(number)).failure_class
    assert number == errno.ENOMEM or "/data/rows.jsonl" in failure.message


def test_a_suppressed_context_is_no_cause():
    error = DataError("another matter")
    error.__context__, error.__suppress_context__ = system(errno.ENOSPC), True
    assert classify(error).failure_class == DATA


def test_a_chain_that_bites_its_tail_ends():
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert classify(one).failure_class == INTERNAL


def test_a_folder_that_is_gone_is_a_lost_disk_and_is_named(tmp_path: Path):
    gone = tmp_path / "gone"
    failure = classify(ArtifactError("no artifact"), [tmp_path, gone])
    assert failure.failure_class == LOST
    assert str(gone) in failure.message
    assert classify(ArtifactError("no artifact"), [tmp_path]).failure_class == DATA


def test_an_exception_without_a_cause_of_its_own_keeps_its_traceback():
    try:
        raise KeyError("surprise")
    except KeyError as error:
        failure = classify(error)
    assert failure.failure_class == INTERNAL
    assert "test_failures.py" in failure.detail
