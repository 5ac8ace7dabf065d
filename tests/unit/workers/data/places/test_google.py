"""Google's store, as its client in Arrow speaks to a server on this machine."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from pyarrow import fs

from tests.unit.workers.data.places.servers import Handler, Server, http_server
from workers.data.places import Downloads, Remote
from workers.data.places.stores import _STORES
from workers.data.sources import SourceFile, find_files
from workers.failures import DataError

ROWS = b'{"text": "a"}\n'
OBJECTS = {"data/a.jsonl": ROWS * 2, "data/deep/b.jsonl": ROWS, "one.jsonl": ROWS * 3}
LIST = "/storage/v1/b/rows/o"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with http_server() as server:
        server.otherwise = _answer
        local = fs.GcsFileSystem(
            anonymous=True,
            scheme="http",
            endpoint_override=f"127.0.0.1:{server.port}",
            retry_time_limit=timedelta(seconds=5),
        )
        monkeypatch.setitem(_STORES, "gs", lambda remote: local)
        yield server


def _answer(request: Handler) -> None:
    parts = urlsplit(request.path)
    query = parse_qs(parts.query)
    path = unquote(parts.path)
    name = path.removeprefix("/rows/") if path.startswith("/rows/") else path.removeprefix(f"{LIST}/")
    if path.rstrip("/") == LIST:
        prefix = query.get("prefix", [""])[0]
        found = [_metadata(one) for one in sorted(OBJECTS) if one.startswith(prefix)]
        _send(request, {"kind": "storage#objects", "items": found})
    elif path == "/storage/v1/b/rows":
        _send(request, {"kind": "storage#bucket", "id": "rows", "name": "rows"})
    elif name not in OBJECTS:
        request.send(404, b'{"error": {"code": 404, "message": "Not Found"}}')
    elif path.startswith("/rows/") or query.get("alt") == ["media"]:
        request.send(200, OBJECTS[name], x_goog_generation="1")
    else:
        _send(request, _metadata(name))


def _metadata(name: str) -> dict[str, str]:
    size = str(len(OBJECTS[name]))
    return {"kind": "storage#object", "bucket": "rows", "name": name, "size": size, "generation": "1"}


def _send(request: Handler, document: object) -> None:
    request.send(200, json.dumps(document).encode(), Content_Type="application/json")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("gs://rows/one.jsonl", ["one.jsonl"]),
        ("gs://rows/data", ["a.jsonl"]),
        ("gs://rows/**/*.jsonl", ["data/a.jsonl", "data/deep/b.jsonl", "one.jsonl"]),
    ],
)
@pytest.mark.usefixtures("server")
def test_objects_of_google_are_downloaded(path: str, names: list[str], tmp_path: Path) -> None:
    found = _find(path, tmp_path)
    assert [file.name for file in found] == names
    for file in found:
        assert Path(file.path).read_bytes() == OBJECTS[file.uri.removeprefix("gs://rows/")]


@pytest.mark.usefixtures("server")
def test_object_that_google_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gs://rows/none\.jsonl does not exist"):
        _find("gs://rows/none.jsonl", tmp_path)


def _find(path: str, folder: Path) -> list[SourceFile]:
    downloads = Downloads(folder, Remote(max_bytes=1 << 20), lambda message: None)
    return find_files(path, "data.path", "train", "auto", lambda path, key: None, downloads)
