"""`python -m workers`: one worker, until SIGTERM or SIGINT asks it to leave."""

import argparse
import asyncio
import logging
from collections.abc import Iterator

from luthier import telemetry
from luthier.errors import LuthierError
from luthier.settings import WorkerSettings
from workers.runner import STAGES_NAME, load_stages
from workers.supervisor import supervise


def main() -> int:
    """The process. Returns 0 after a drain, 1 when the worker cannot work as it is set up."""
    parser = argparse.ArgumentParser(
        prog="python -m workers", description="Runs stages; set up by LUTHIER_* variables."
    )
    parser.add_argument("--stages", default=STAGES_NAME, help="module:attribute of the table of stage kinds")
    arguments = parser.parse_args()
    settings = WorkerSettings()
    telemetry.start("worker", settings)
    status = 0
    try:
        asyncio.run(supervise(settings, arguments.stages, load_stages(arguments.stages)))
    except* (LuthierError, ValueError) as group:
        # A task of the supervisor that fails comes in a group, whatever else fails comes alone.
        for error in _leaves(group):
            logging.getLogger(__name__).error("%s", error)
        status = 1
    finally:
        telemetry.stop()
    return status


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    raise SystemExit(main())
