"""Object stores: `s3://` and `gs://`, by Arrow's own file systems. A path is an object, a prefix that stands for a
folder, or a pattern.

Who may read what is up to the store; its credentials are those of the worker's environment (`AWS_*`, `GOOGLE_*`, the
machine's role) and never in a message. An S3 of another maker is set by LUTHIER_DATA_S3_ENDPOINT.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path, PurePosixPath

from pyarrow import fs

from workers.data.places.downloads import BLOCK_BYTES, Downloads
from workers.data.places.listing import Listed, Listing, is_hidden, matches, split_pattern
from workers.data.places.place import CheckReadable
from workers.data.places.remote import Remote
from workers.failures import DataError, DependencyError

_STORES: dict[str, Callable[[Remote], fs.FileSystem]] = {
    "s3": lambda remote: fs.S3FileSystem(endpoint_override=remote.s3_endpoint or None),
    "gs": lambda remote: fs.GcsFileSystem(retry_time_limit=timedelta(seconds=60)),
}
_REFUSED = re.compile(
    r"ACCESS_DENIED|FORBIDDEN|403|PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ACCESS_KEY|SIGNATURE|40[01]"
)
_OTHER_REGION = re.compile(r"status 301")


def find(path: str, key: str, check_readable: CheckReadable, remote: Remote) -> Listing:
    """The objects behind a URI.

    Raises:
        ConfigError: it may not be read.
        DataError: there is nothing, or the store refuses the worker.
        DependencyError: the store does not answer.
    """
    check_readable(path, key)
    scheme, _, place = path.partition("://")
    place = place.rstrip("/")
    with _faults(path, key):
        store = _STORES[scheme](remote)
        info = store.get_file_info(place)
        if info.type == fs.FileType.File:
            return Listing([_listed(store, scheme, info, PurePosixPath(place).name, key)], "name")
        base, pattern = (place, "*") if info.type == fs.FileType.Directory else split_pattern(place)
        selector = fs.FileSelector(base, allow_not_found=True, recursive="/" in pattern or "**" in pattern)
        found = {PurePosixPath(one.path).relative_to(base).as_posix(): one for one in store.get_file_info(selector)}
    files = [
        _listed(store, scheme, one, name, key)
        for name, one in sorted(found.items())
        if one.type == fs.FileType.File and not is_hidden(name) and matches(name, pattern)
    ]
    if not pattern or not files:
        raise DataError(f"{key}: {path} does not exist or is empty; give an object, a prefix or a pattern")
    return Listing(files, "folder" if info.type == fs.FileType.Directory else "pattern")


def _listed(store: fs.FileSystem, scheme: str, info: fs.FileInfo, name: str, key: str) -> Listed:
    uri = f"{scheme}://{info.path}"
    return Listed(uri, name, info.size, partial(_fetch, store, info.path, info.size, uri, key))


def _fetch(store: fs.FileSystem, path: str, num_bytes: int, uri: str, key: str, downloads: Downloads) -> Path:
    downloads.check_room(uri, num_bytes)
    return downloads.save(uri, PurePosixPath(path).name, _blocks(store, path, num_bytes, uri, key))


def _blocks(store: fs.FileSystem, path: str, num_bytes: int, uri: str, key: str) -> Iterator[bytes]:
    num_read = 0
    with _faults(uri, key):
        stream = store.open_input_stream(path, compression=None)
    with stream:
        while block := _read(stream, uri, key):
            num_read += len(block)
            yield block
    if num_read != num_bytes:
        raise DependencyError(f"{key}: {uri} changed while it was read; try again")


def _read(stream: fs.FileSystem, uri: str, key: str) -> bytes:
    with _faults(uri, key):
        return bytes(stream.read(BLOCK_BYTES))


@contextmanager
def _faults(uri: str, key: str) -> Iterator[None]:
    """What the store says is told by kind alone: its own words may quote a request."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{key}: {uri} does not exist; give an existing object or bucket") from None
    except OSError as error:
        if _OTHER_REGION.search(str(error)):
            raise DataError(f"{key}: {uri} is in another region; set AWS_REGION of the worker to it") from None
        if isinstance(error, PermissionError) or _REFUSED.search(str(error)):
            raise DataError(
                f"{key}: the store does not let this worker read {uri}; check the credentials in its environment"
            ) from None
        raise DependencyError(f"{key}: the store of {uri} does not answer as it should; try again later") from None
