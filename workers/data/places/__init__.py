"""Where rows may be, one module per kind of place. A new one is one file and one row in `PLACES`.

A place lists the files behind a path without opening them; a listed file fetches its bytes when it is its turn. What is
elsewhere is streamed into the stage's scratch folder first, so that what is hashed is what is read.
"""

from luthier.artifacts import local_path
from workers.data.places import disk, hub, stores, web
from workers.data.places.downloads import Downloads, download_folder
from workers.data.places.listing import Listed, Listing
from workers.data.places.place import CheckReadable, Place
from workers.data.places.remote import Remote
from workers.failures import ConfigError

PLACES: dict[str, Place] = {
    "https": web.find,
    "http": web.find,
    "s3": stores.find,
    "gs": stores.find,
    "hf": hub.find,
}
"""By scheme; a path without one is on disk."""


def list_files(path: str, key: str, check_readable: CheckReadable, remote: Remote) -> Listing:
    """The files behind `path`, which is the value of `key` in the job file.

    Raises:
        ConfigError: the path may not be read, or nothing here can read its scheme.
        DataError: there is no such file or folder.
        DependencyError: the place does not answer.
    """
    local = local_path(path)
    if local is not None:
        return disk.find(str(local), key, check_readable, remote)
    scheme = path.split("://", 1)[0]
    if scheme not in PLACES:
        raise ConfigError(f"{key} {path!r} cannot be opened: rows are read from disk and {', '.join(PLACES)} alone")
    return PLACES[scheme](path, key, check_readable, remote)


__all__ = ["PLACES", "CheckReadable", "Downloads", "Listed", "Listing", "Remote", "download_folder", "list_files"]
