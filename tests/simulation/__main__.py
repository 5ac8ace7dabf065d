"""`python -m tests.simulation`: many seeds with their rate, or one with its trace."""

import argparse
import sys
import time

from tests.simulation.simulate import SeedFailedError, simulate, simulate_all


def main() -> int:
    """Exit code 1 when a seed fails."""
    parser = argparse.ArgumentParser(description="Simulates the coordinator's core under faults.")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--trace", action="store_true", help="print the trace of the first seed")
    arguments = parser.parse_args()
    lines: list[str] = []
    begin = time.perf_counter()
    try:
        if arguments.trace:
            print(simulate(arguments.first, log=lines))
        else:
            simulate_all(range(arguments.first, arguments.first + arguments.seeds))
    except SeedFailedError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        sys.stdout.writelines(lines)
    seconds = time.perf_counter() - begin
    print(f"{arguments.seeds} seeds in {seconds:.1f} s: {arguments.seeds / seconds:.0f} seeds/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
