"""What ZeRO needs of a worker to keep state on a fast disk: DeepSpeed's `async_io`, and a folder.

DeepSpeed compiles `async_io` on the worker when it is first used, which takes minutes; it needs a C++ compiler and the
headers of libaio.
"""

import os
import shutil
from pathlib import Path

from deepspeed.ops.op_builder import AsyncIOBuilder

from workers.failures import ConfigError

_ELSE = "or keep nothing on nvme: resources.distributed.offload_optimizer and offload_param: cpu"


def check_nvme(folder: Path) -> None:
    """Makes `folder`, and compiles what is not compiled yet.

    Raises:
        ConfigError: this worker cannot; the message says what to install.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
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
        builder.load(verbose=False)
    except (RuntimeError, ImportError) as error:
        raise ConfigError(
            f"DeepSpeed's async_io cannot be compiled on this worker ({error}); mend that, {_ELSE}"
        ) from None
