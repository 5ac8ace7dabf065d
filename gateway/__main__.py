"""`python -m gateway`: the public edge. Configured by `LUTHIER_*` variables, see `luthier/settings.py`."""

import asyncio
import logging
import sys

from gateway.app import check_settings, run
from luthier import telemetry
from luthier.settings import GatewaySettings


def main() -> int:
    """Runs until asked to stop; 2 when the settings are refused."""
    settings = GatewaySettings()
    telemetry.start("gateway", settings)
    try:
        check_settings(settings)
    except ValueError as error:
        logging.getLogger("gateway").error("%s", error)
        return 2
    try:
        asyncio.run(run(settings))
    finally:
        telemetry.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
