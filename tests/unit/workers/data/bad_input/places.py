"""Paths that lead where nobody may read, or nowhere."""

import json
import os
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from tests.unit.workers.data.bad_input.case import GOOD, Case, Make, content
from workers.data.places import Remote
from workers.failures import ConfigError

_PRIVATE_HOSTS = {
    "a private address": "10.0.0.1",
    "this machine": "127.0.0.1",
    "this machine by name": "localhost",
    "this machine as a number": "2130706433",
    "this machine in IPv6": "[::1]",
    "this machine in IPv4 within IPv6": "[::ffff:127.0.0.1]",
    "the metadata of a cloud": "169.254.169.254",
}
_OPEN = Remote(hosts=frozenset(host.strip("[]") for host in _PRIVATE_HOSTS.values()), max_bytes=1 << 20)
"""A worker that allows them by name, and by that alone."""
_OUTSIDE = r"outside the places that this worker may read .*; move it there or add its folder to LUTHIER_DATA_ROOTS"
_AS_LINES = {"file_type": "jsonl"}


def _outside(folder: Path) -> Path:
    return Path(content(GOOD, "outside.jsonl")(folder.parent))


def _above(folder: Path) -> str:
    return f"{folder}/../{_outside(folder).name}"


def _link_out(folder: Path) -> Path:
    (folder / "a.jsonl").symlink_to(_outside(folder))
    return folder


def _link_loop(folder: Path) -> Path:
    (folder / "rows.jsonl").symlink_to(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def _two_types(folder: Path) -> Path:
    content(GOOD, "a.jsonl")(folder)
    content(b"prompt,completion\na,b\n", "b.csv")(folder)
    return folder


def _one_empty(folder: Path) -> Path:
    content(GOOD, "a.jsonl")(folder)
    content(b"", "b.jsonl")(folder)
    return folder


def _saved_elsewhere(folder: Path) -> Path:
    """A dataset that was saved to disk, whose state names a file outside of it."""
    _outside(folder)
    state = {"_data_files": [{"filename": "../outside.jsonl"}], "_split": "train"}
    content(b"{}", "dataset_info.json")(folder)
    content(json.dumps(state).encode(), "state.json")(folder)
    return folder


def _fixed(path: str) -> Make:
    return lambda folder: path


def _named_badly(folder: Path) -> Path:
    content(GOOD + b"{}\n", "a\nb.jsonl")(folder)
    return folder


def _url(host: str, folder: Path) -> str:
    return f"https://{host}/rows.jsonl"


PLACES = [
    Case("a path that leads up", _above, _OUTSIDE, ConfigError),
    Case("a link that leads out", _link_out, _OUTSIDE, ConfigError),
    Case("a link to itself", _link_loop, r"rows\.jsonl' leads nowhere: .*; give a plain file or folder", ConfigError),
    Case("a pipe, which would wait for ever", _pipe, r"rows\.jsonl is no plain file; give a file or a folder"),
    Case("a pipe in a folder", lambda folder: _pipe(folder).parent, r"holds no file that ends in \.jsonl"),
    Case("a device without end", _fixed("/dev/zero"), _OUTSIDE, ConfigError, settings=_AS_LINES),
    Case("the environment", _fixed("/proc/self/environ"), _OUTSIDE, ConfigError, settings=_AS_LINES),
    Case("no such file", lambda folder: folder / "none.jsonl", r"none\.jsonl does not exist; give an existing file"),
    Case("a folder without data", lambda folder: folder, r"holds no file that ends in \.jsonl"),
    Case("an empty file among others", _one_empty, r"b\.jsonl is empty; expected rows"),
    Case(
        "a folder of two types",
        _two_types,
        r"data\.path: .* files of several types \(csv, jsonl\); set data\.file_type",
    ),
    Case(
        "a pattern that nothing fits", lambda folder: folder / "*.jsonl", r"nothing fits .*; give a pattern of existing"
    ),
    Case(
        "a saved dataset that leads out", _saved_elsewhere, r"outside\.jsonl', which is not in its folder; .*not read"
    ),
    Case(
        "a line end in a path", content(GOOD, "a\nb.jsonl"), r"control characters; give a plain path", ValidationError
    ),
    Case("a line end in a name", _named_badly, r"b\.jsonl line 2: wrong columns", dropped={"wrong columns": 1}, kept=1),
    Case(
        "a host nobody allowed",
        partial(_url, "example.com"),
        r"add it to LUTHIER_DATA_HOSTS of the worker",
        ConfigError,
    ),
    *(
        Case(name, partial(_url, host), r"an address that is not public, so it is not read", ConfigError, remote=_OPEN)
        for name, host in _PRIVATE_HOSTS.items()
    ),
]
