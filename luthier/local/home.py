"""`LUTHIER_HOME` on disk: which file is where, who may read it, and how it is written.

Nothing in here is ever half-written: JSON files are replaced by a rename. Files with secrets are 0600 from their
first byte. The folder itself is 0700.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError


class HomeInUseError(LuthierError):
    """Another launcher works in this home."""


@dataclass(frozen=True)
class Secrets:
    """What the processes of one installation know and nobody else. Made once, kept for ever."""

    internal_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Shared by coordinator, gateway and workers."""
    nats_user: str = field(default_factory=lambda: f"luthier_{secrets.token_hex(4)}", repr=False)
    nats_password: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    checkpoint_key: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """Key of the signatures in checkpoint manifests; without it no old checkpoint is resumed."""


@dataclass(frozen=True)
class Home:
    """The folder of one local installation."""

    path: Path

    def create(self) -> None:
        """Makes the folder and its rooms, for the owner only."""
        self.path.mkdir(parents=True, exist_ok=True)
        # As root PostgreSQL runs as another user, who has to get through (not look around): see postgres.py.
        self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for room in (self.logs, self.artifacts, self.models, self.work, self.triton, self.nats):
            room.mkdir(exist_ok=True)
            room.chmod(0o700)

    @property
    def logs(self) -> Path:
        """`<child>.log` of every process."""
        return self.path / "logs"

    @property
    def artifacts(self) -> Path:
        """The artifact store, unless `LUTHIER_ARTIFACTS` names another."""
        return self.path / "artifacts"

    @property
    def models(self) -> Path:
        """Converted base models."""
        return self.path / "models"

    @property
    def work(self) -> Path:
        """Scratch folders of running attempts."""
        return self.path / "work"

    @property
    def triton(self) -> Path:
        """Triton's model repository."""
        return self.path / "triton"

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.path / "postgres"

    @property
    def nats(self) -> Path:
        """NATS: configuration and JetStream store."""
        return self.path / "nats"

    @property
    def state_file(self) -> Path:
        """What runs; written by the launcher only."""
        return self.path / "state.json"

    @property
    def endpoints_file(self) -> Path:
        """Where clients find the running stack; absent when it is down."""
        return self.path / "endpoints.json"

    @property
    def api_key_file(self) -> Path:
        """The local user's API key."""
        return self.path / "api_key"

    def log(self, name: str) -> Path:
        """Log file of one process."""
        return self.logs / f"{name}.log"

    def secrets(self) -> Secrets:
        """The installation's secrets, made on the first call."""
        path = self.path / "secrets.json"
        if not path.exists():
            write_json(path, vars(Secrets()))
        return Secrets(**json.loads(path.read_text()))

    def api_key(self) -> str:
        """The local user's API key, made on the first call."""
        if not self.api_key_file.exists():
            write_private(self.api_key_file, f"lk_{secrets.token_urlsafe(32)}\n")
        return self.api_key_file.read_text().strip()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other launcher out; the system frees the lock when this process dies, however it dies.

        Raises:
            HomeInUseError: another launcher holds it.
        """
        with (self.path / "launcher.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise HomeInUseError(f"another launcher works in {self.path}") from error
            yield


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replaces the file at `path` as a whole."""
    write_private(path, json.dumps(document, indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replaces the file at `path` as a whole by one that only its owner can read."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
