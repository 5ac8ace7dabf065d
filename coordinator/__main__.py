"""`python -m coordinator`: reads the settings, starts telemetry, serves until asked to stop."""

import asyncio
import gc
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
    _collect_garbage_rarely()
    try:
        asyncio.run(run(settings))
    finally:
        telemetry.stop()
    return 0


def _collect_garbage_rarely() -> None:
    """Rows and messages die by themselves; looking for cycles among them costs a twentieth of the processor's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


if __name__ == "__main__":
    sys.exit(main())
