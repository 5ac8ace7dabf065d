"""What ZeRO needs of a worker to keep state on a fast disk: DeepSpeed's `async_io`, and a folder.

DeepSpeed compiles `async_io` on the worker when it is first used, which takes minutes; it needs a C++ compiler and the
headers of libaio. Who is killed meanwhile leaves a mark in torch's build folder that others would wait on for ever.
So one process at a time compiles, under a lock that ends with it, and whoever has the lock removes the mark.
"""

import os
import shutil
from pathlib import Path

from deepspeed.ops.op_builder import AsyncIOBuilder
from filelock import FileLock
from torch.utils.cpp_extension import _get_build_directory

from luthier.v1.failure_pb2 import FailureClass
from workers.causes import FULL, place_of, says
from workers.failures import ConfigError, StageError

_ELSE = "or keep nothing on nvme: resources.distributed.offload_optimizer and offload_param: cpu"


def check_nvme(folder: Path) -> None:
    """Makes `folder`, and compiles what is not compiled yet.

    Raises:
        ConfigError: this worker cannot; the message says what to install, or which folder to mend.
        StageError: STORAGE_FULL; there is no room for the folder, or for what is compiled.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if says(error, FULL):
            raise _no_room(f"resources.distributed.nvme_path {folder}", error) from None
        raise ConfigError(f"resources.distributed.nvme_path {folder} cannot be made on this worker: {error}") from None
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"resources.distributed.nvme_path {folder} cannot be written to on this worker")
    builder = AsyncIOBuilder()
    has = {
        "a C++ compiler (g++)": shutil.which("c++") is not None,
        "libaio with its headers (libaio-dev on Debian, libaio-devel on Fedora)": builder.is_compatible(),
    }
    if lacking := [what for what, is_there in has.items() if not is_there]:
        raise ConfigError(
            f"resources.distributed offloads to nvme; install {' and '.join(lacking)} on the worker, {_ELSE}"
        )
    try:
        _load(builder)
    except OSError as error:
        place = f"the folder of compiled extensions ({place_of(error) or 'TORCH_EXTENSIONS_DIR'})"
        if says(error, FULL):
            raise _no_room(place, error) from None
        raise ConfigError(
            f"DeepSpeed's async_io is compiled for resources.distributed, and {place} cannot be used on this worker: "
            f"{error}; set TORCH_EXTENSIONS_DIR of the worker to a folder that can, {_ELSE}"
        ) from None
    except (RuntimeError, ImportError) as error:
        raise ConfigError(
            f"DeepSpeed's async_io cannot be compiled on this worker ({error}); mend that, {_ELSE}"
        ) from None


def _no_room(place: str, error: OSError) -> StageError:
    return StageError(
        FailureClass.FAILURE_CLASS_STORAGE_FULL,
        f"no space left for {place} on this worker ({error}); free space, {_ELSE}",
    )


def _load(builder: AsyncIOBuilder) -> None:
    build = Path(_get_build_directory(builder.NAME, verbose=False))
    with FileLock(build.with_name(f"{build.name}.lock")):
        (build / "lock").unlink(missing_ok=True)
        builder.load(verbose=False)
