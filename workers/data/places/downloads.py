"""Files from elsewhere, streamed into the scratch folder of a stage: capped, and given up when they only trickle.

Their names are ours, so that nothing a server says decides where something is written.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from workers.data.files import type_suffix
from workers.data.places.remote import Remote
from workers.data.stop import check_stop
from workers.failures import DataError, DependencyError
from workers.task import Report

BLOCK_BYTES = 1 << 20
_REPORT_SECONDS = 2.0
_WATCHED_SECONDS = 60.0
_MIN_BYTES_PER_SECOND = 1024


class Downloads:
    """The scratch folder of one run, and how much more may be put there."""

    def __init__(self, folder: Path, remote: Remote, tick: Callable[[str], None]) -> None:
        """
        Args:
            folder: is there.
            remote: where files may be had from.
            tick: is told every few seconds what is being done; may raise to stop it.
        """
        self.remote = remote
        self._folder = folder
        self._tick = tick
        self._left = remote.max_bytes
        self._numbers = count()

    def check_room(self, uri: str, num_bytes: int) -> None:
        """
        Raises:
            DataError: so many bytes more are over the limit.
        """
        if num_bytes > self._left:
            raise DataError(
                f"{uri} would bring what this job downloads over {self.remote.max_bytes} bytes; take less of it, or "
                f"raise LUTHIER_DATA_DOWNLOAD_BYTES of the worker"
            )

    def save(self, uri: str, name: str, blocks: Iterable[bytes]) -> Path:
        """A new file with these bytes; `uri` is for messages, and `name` tells the type.

        Raises:
            DataError: they are more than the limit leaves room for.
            DependencyError: they come slower than 1 KiB/s for a minute.
        """
        path = self._folder / f"{next(self._numbers):06}{type_suffix(name)}"
        started = told = time.monotonic()
        num_bytes = num_watched = 0
        with path.open("xb") as stream:
            for block in blocks:
                self.check_room(uri, len(block))
                self._left -= len(block)
                num_bytes += len(block)
                num_watched += len(block)
                stream.write(block)
                now = time.monotonic()
                if now - told > _REPORT_SECONDS:
                    self._tick(f"downloading {uri}: {num_bytes >> 20} MiB")
                    told = now
                if now - started > _WATCHED_SECONDS:
                    if num_watched < _MIN_BYTES_PER_SECOND * (now - started):
                        raise DependencyError(f"{uri} comes at less than 1 KiB/s; try again later")
                    started, num_watched = now, 0
        return path


@contextmanager
def download_folder(beside: Path, remote: Remote, report: Report) -> Iterator[Downloads]:
    """Downloads that are there for the length of the block, in the folder `beside`, and heed the wish to stop."""

    def tick(message: str) -> None:
        check_stop(report)
        report.progress(0, 0, message)

    with tempfile.TemporaryDirectory(dir=beside, prefix="sources-") as folder:
        yield Downloads(Path(folder), remote, tick)
