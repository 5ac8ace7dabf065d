"""`python -m tests.chaos --seconds 1800 --seed 7`: breaks a platform for as long as wanted and says what held."""

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Plan, run
from tests.chaos.cluster import Shape
from tests.tiny_model import make_tiny_model


def main() -> int:
    """Exit code: 0 when every promise held, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long to break things")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="the same seed breaks the same")
    parser.add_argument("--open", type=int, default=6, help="how many jobs are open at a time")
    parser.add_argument("--gap", type=float, default=3.0, help="seconds between two faults, on average")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--report", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--logs", type=Path, help="where to keep the processes' logs when a promise was broken")
    arguments = parser.parse_args()
    plan = Plan(
        seed=arguments.seed,
        seconds=arguments.seconds,
        num_open=arguments.open,
        mean_gap_seconds=arguments.gap,
        logs=arguments.logs,
        shape=Shape(num_workers=arguments.workers, clock_seed=arguments.seed),
    )
    # What was mounted is unmounted, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="luthier-chaos-model-") as folder:
        report = asyncio.run(run(plan, make_tiny_model(Path(folder) / "tiny")))
    report.show()
    if report.violations:
        print(plan.explain())
    if arguments.report:
        report.write(arguments.report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
