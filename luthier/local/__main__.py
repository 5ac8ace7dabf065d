"""`python -m luthier.local`: the launcher without a terminal, as `luthier up --detach` starts it."""

import asyncio
import logging
import sys

from luthier import telemetry
from luthier.errors import LuthierError
from luthier.local.home import Home
from luthier.local.launcher import Launcher
from luthier.settings import LocalSettings


def main() -> int:
    """Runs until asked to stop; 1 when the stack did not come up."""
    settings = LocalSettings()
    telemetry.start("launcher", settings)
    log = logging.getLogger("luthier.local")
    launcher = Launcher(Home(settings.home_dir), settings, watcher=lambda _: None)
    try:
        asyncio.run(launcher.run())
    except LuthierError as error:
        log.error("%s", error)
        return 1
    finally:
        telemetry.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
