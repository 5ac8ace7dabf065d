"""Datasets of the Hugging Face hub: `hf://datasets/OWNER/NAME[@REVISION][/PATH][?config=NAME&split=NAME]`.

The revision is resolved to a commit first, and the commit is what is read and recorded. Data files alone are read, and
by us: a dataset that a script makes is refused, since nothing that comes from a hub is ever run. Which hub, the
worker's settings say: the real one, or a directory with `datasets/OWNER/NAME/...`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol

import httpx2
from huggingface_hub import HfApi, HfFileSystem, RepoFile
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from luthier.spec.data.location import HubLocation, parse_hub
from workers.data.places.downloads import BLOCK_BYTES, Downloads
from workers.data.places.hub_layout import CARD, choose
from workers.data.places.listing import Listed, Listing
from workers.data.places.place import CheckReadable
from workers.data.places.remote import Remote
from workers.failures import ConfigError, DataError, DependencyError, StageError

_TIMEOUT_SECONDS = 10.0
_MAX_CARD_BYTES = 1 << 20
_MANY_REQUESTS, _FIRST_SERVER_ERROR = 429, 500


@dataclass(frozen=True)
class _Entry:
    """A file of a repository."""

    num_bytes: int
    sha256: str | None
    """When the hub knows it, which it does for large files."""
    fetch: Callable[[Downloads], Path]


class _Repository(Protocol):
    @property
    def uri(self) -> str:
        """With the commit, where there is one."""

    def entries(self) -> Mapping[str, _Entry]:
        """All files, by path."""

    def card(self) -> bytes:
        """The start of README.md."""


def find(path: str, key: str, check_readable: CheckReadable, remote: Remote) -> Listing:
    """The data files of a dataset, in the splits that its card or the names of its files put them.

    Raises:
        ConfigError: the hub may not be read, has no such dataset or revision, or does not show it.
        DataError: it has no data files, or it is not clear which of them are meant.
        DependencyError: the hub does not answer.
    """
    check_readable(path.split("?", 1)[0], key)
    location = parse_hub(path)
    with _faults(path, key):
        repository = _open(location, remote, key)
        entries = repository.entries()
        card = repository.card() if CARD in entries else b""
    chosen = choose(list(entries), location, card, f"{key}: {path}")
    files = [
        Listed(f"{repository.uri}/{name}", name, one.num_bytes, one.fetch, split, one.sha256)
        for name, split in chosen
        for one in [entries[name]]
    ]
    is_one = len(files) == 1 and files[0].name == location.path
    return Listing(files, "name" if is_one else "dataset")


def _open(location: HubLocation, remote: Remote, key: str) -> _Repository:
    if remote.hub_url and "://" not in remote.hub_url:
        return _Folder(location, Path(remote.hub_url), key)
    endpoint = remote.hub_url or None
    info = HfApi(endpoint=endpoint).dataset_info(
        location.repository, revision=location.revision, timeout=_TIMEOUT_SECONDS
    )
    if info.sha is None:
        raise DependencyError(f"{key}: the hub does not say which commit {location.repository} is at; try again later")
    return _Remote(location.repository, info.sha, endpoint, key)


@dataclass(frozen=True)
class _Remote:
    """A repository at a commit."""

    repository: str
    commit: str
    endpoint: str | None
    key: str

    @property
    def uri(self) -> str:
        return f"hf://datasets/{self.repository}@{self.commit}"

    def entries(self) -> Mapping[str, _Entry]:
        tree = HfApi(endpoint=self.endpoint).list_repo_tree(
            self.repository, repo_type="dataset", revision=self.commit, recursive=True
        )
        files = sorted((one for one in tree if isinstance(one, RepoFile)), key=lambda one: one.path)
        return {
            one.path: _Entry(one.size, one.lfs.sha256 if one.lfs else None, partial(self._fetch, one.path, one.size))
            for one in files
        }

    def card(self) -> bytes:
        return next(self._blocks(CARD, _MAX_CARD_BYTES), b"")

    def _fetch(self, path: str, num_bytes: int, downloads: Downloads) -> Path:
        uri = f"{self.uri}/{path}"
        downloads.check_room(uri, num_bytes)
        return downloads.save(uri, PurePosixPath(path).name, self._blocks(path, BLOCK_BYTES))

    def _blocks(self, path: str, size: int) -> Iterator[bytes]:
        files = HfFileSystem(endpoint=self.endpoint, skip_instance_cache=True)
        with (
            _faults(f"{self.uri}/{path}", self.key),
            files.open(f"datasets/{self.repository}@{self.commit}/{path}", "rb", block_size=0) as stream,
        ):
            while block := stream.read(size):
                yield block


class _Folder:
    """A repository in a directory that stands for a hub."""

    def __init__(self, location: HubLocation, hub: Path, key: str) -> None:
        if location.revision:
            raise ConfigError(f"{key}: the hub is the directory {hub}, which keeps no revisions; leave '@' out")
        self._folder = hub / "datasets" / location.repository
        self.uri = f"hf://datasets/{location.repository}"
        if not self._folder.is_dir():
            raise ConfigError(f"{key}: the hub has no dataset {location.repository}; put its files into {self._folder}")

    def entries(self) -> Mapping[str, _Entry]:
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return {
            path.relative_to(self._folder).as_posix(): _Entry(path.stat().st_size, None, partial(_as_it_is, path))
            for path in files
        }

    def card(self) -> bytes:
        with (self._folder / CARD).open("rb") as stream:
            return stream.read(_MAX_CARD_BYTES)


def _as_it_is(path: Path, downloads: Downloads) -> Path:
    return path


@contextmanager
def _faults(uri: str, key: str) -> Iterator[None]:
    try:
        yield
    except GatedRepoError as error:
        raise ConfigError(
            f"{key}: {uri} is gated; accept its terms on the hub and give the worker a token (HF_TOKEN)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise ConfigError(f"{key}: the hub has no {uri} that it would show us; check name and revision") from error
    except HfHubHTTPError as error:
        raise _of_answer(uri, key, error.response.status_code) from error
    except (httpx2.HTTPError, FileNotFoundError, ConnectionError) as error:
        raise DependencyError(
            f"{key}: {uri} cannot be had from the hub ({type(error).__name__}); try again later, or see LUTHIER_HUB_URL"
        ) from error


def _of_answer(uri: str, key: str, status: int) -> StageError:
    if status == _MANY_REQUESTS or status >= _FIRST_SERVER_ERROR:
        return DependencyError(f"{key}: the hub answers {status} for {uri}; it will be asked again")
    return DataError(f"{key}: the hub answers {status} for {uri}; check name and revision")
