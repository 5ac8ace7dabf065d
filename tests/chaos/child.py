"""`python -m tests.chaos.child [--crash-at POINT[:N]] [--jumping-clock SEED] PROGRAM ...`: one of our programs, unsafe.

The program is the real one, started by its own `__main__`; what makes it die or lie is wrapped around it from here.
Nothing in production code knows of it.
"""

import argparse
import random
import runpy
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace

from grpc.aio import _utils as grpc_clock

from tests.chaos.crash_points import arm

JUMP_EVERY_SECONDS = 3.0
JUMPS_SECONDS = (-3600.0, 0.0, 0.5, 3600.0)


def main(argv: Sequence[str]) -> None:
    """Becomes the program. Ends as it ends, or by SIGKILL at the armed point."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.child")
    parser.add_argument("--crash-at", default="", help="name of a crash point; `:3` for the third time it is reached")
    parser.add_argument("--jumping-clock", type=int, help="seed of a wall clock that jumps by up to an hour")
    parser.add_argument("program", choices=("coordinator", "workers", "gateway"))
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    arguments = parser.parse_args(argv)
    if arguments.jumping_clock is not None:
        make_clock_jump(arguments.jumping_clock)
    if arguments.crash_at:
        name, _, count = arguments.crash_at.partition(":")
        arm(name, int(count or 1))
    sys.argv = [arguments.program, *arguments.rest]
    runpy.run_module(arguments.program, run_name="__main__", alter_sys=True)


def make_clock_jump(seed: int) -> None:
    """Has `time.time` and `time.time_ns` jump back and forth; the monotonic clock stays true, as it does anywhere."""
    true_time = time.time

    def jumping() -> float:
        moment = true_time()
        return moment + random.Random(seed + int(moment / JUMP_EVERY_SECONDS)).choice(JUMPS_SECONDS)

    # gRPC makes a deadline of wall clock plus timeout and turns it into a span at once, by the same clock: a real jump
    # does not come in between. This one would, because gRPC's core does not ask Python for the time.
    grpc_clock.time = SimpleNamespace(time=true_time)
    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


if __name__ == "__main__":
    main(sys.argv[1:])
