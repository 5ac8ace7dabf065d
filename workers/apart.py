"""A call in a process of its own, for the sake of what it leaves behind in memory.

PyTorch and the libraries around it take some 300 MiB once they are imported, and nothing gives that back but the end of
the process. A stage that needs them for a moment only, and memory for hours, has them imported elsewhere.
"""

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def call_apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `function` returns or raises, with arguments and result pickled; here, if this process has torch already.

    Raises:
        MemoryError: the process was killed.
    """
    if "torch" in sys.modules:
        return function(*args, **kwargs)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise MemoryError(f"the process for {function.__name__} was killed; does it need more memory?") from error
