"""`python -m coordinator`: reads the settings, starts telemetry, serves until asked to stop."""

import asyncio
import sys

from coordinator.service import check_settings, run
from luthier import telemetry
from luthier.settings import CoordinatorSettings


def main() -> int:
    """Exit code: 0 after a graceful stop, 2 for bad settings; a part that dies raises."""
    settings = CoordinatorSettings()
    try:
        check_settings(settings)
    except ValueError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    telemetry.start("coordinator", settings)
    try:
        asyncio.run(run(settings))
    finally:
        telemetry.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
