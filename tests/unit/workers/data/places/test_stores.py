"""Object stores: S3 as moto's server speaks it, on this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from workers.data.places import Downloads, Remote, list_files
from workers.data.places.stores import _STORES
from workers.data.sources import SourceFile, find_files
from workers.failures import ConfigError, DataError, DependencyError
from workers.task import check_readable

ROWS = b'{"text": "a"}\n'
OBJECTS = {
    "one.jsonl": ROWS,
    "data/b.jsonl.gz": ROWS,
    "data/a.jsonl": ROWS * 2,
    "data/README.md": b"#",
    "data/deep/c.jsonl": ROWS * 3,
    "data/_tmp/d.jsonl": ROWS,
}

Find = Callable[..., list[SourceFile]]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="rows")
    for name, body in OBJECTS.items():
        client.put_object(Bucket="rows", Key=name, Body=body)
    return client


@pytest.fixture
def find(endpoint: str, store: Any, tmp_path: Path) -> Find:
    def find_at(path: str, max_bytes: int = 1 << 20, roots: str = "s3://rows") -> list[SourceFile]:
        return _find(path, tmp_path, Remote(max_bytes=max_bytes, s3_endpoint=endpoint), roots)

    return find_at


def _find(path: str, folder: Path, remote: Remote, roots: str = "s3://rows") -> list[SourceFile]:
    downloads = Downloads(folder, remote, lambda message: None)
    return find_files(path, "data.path", "train", "auto", lambda path, key: check_readable(path, key, roots), downloads)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("s3://rows/one.jsonl", ["one.jsonl"]),
        ("s3://rows/data", ["a.jsonl", "b.jsonl.gz"]),
        ("s3://rows/data/", ["a.jsonl", "b.jsonl.gz"]),
        ("s3://rows/data/*.jsonl", ["a.jsonl"]),
        ("s3://rows/data/**/*.jsonl", ["a.jsonl", "deep/c.jsonl"]),
        ("s3://rows/**", ["data/a.jsonl", "data/b.jsonl.gz", "data/deep/c.jsonl", "one.jsonl"]),
    ],
)
def test_objects_prefixes_and_patterns_are_downloaded(path: str, names: list[str], find: Find, tmp_path: Path) -> None:
    found = find(path)
    assert [file.name for file in found] == names
    for file in found:
        assert Path(file.path).read_bytes() == OBJECTS[file.uri.removeprefix("s3://rows/")]
        assert Path(file.path).parent == tmp_path


def test_what_is_not_there_or_not_allowed_is_refused(find: Find) -> None:
    for path in ("s3://rows/nothing.jsonl", "s3://rows/no*/x.jsonl", "s3://nobucket/rows.jsonl"):
        with pytest.raises(DataError, match="does not exist"):
            find(path, roots="s3://rows,s3://nobucket")
    with pytest.raises(ConfigError, match="LUTHIER_DATA_ROOTS"):
        find("s3://other/rows.jsonl")


def test_objects_over_the_limit_are_refused(find: Find, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"s3://rows/data/b\.jsonl\.gz would bring .* over 30 bytes"):
        find("s3://rows/data", max_bytes=30)
    assert len(list(tmp_path.iterdir())) == 1


def test_object_that_changes_meanwhile_is_not_read_in_part(store: Any, endpoint: str, tmp_path: Path) -> None:
    remote = Remote(max_bytes=1000, s3_endpoint=endpoint)
    listing = list_files("s3://rows/one.jsonl", "data.path", lambda path, key: None, remote)
    store.put_object(Bucket="rows", Key="one.jsonl", Body=ROWS * 5)
    with pytest.raises(DependencyError, match="changed while it was read"):
        listing.files[0].fetch(Downloads(tmp_path, remote, lambda message: None))


def test_store_that_does_not_answer_says_nothing_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    with pytest.raises(DependencyError, match="does not answer as it should") as caught:
        _find("s3://rows/one.jsonl", tmp_path, Remote(s3_endpoint="http://test-user:test-word@127.0.0.1:1"))
    assert "test-" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "does not let this worker read"),
        ("AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2 operation", "does not let this worker read"),
        ("Permission denied: Permanent error, status_code=403", "does not let this worker read"),
        ("AWS Error UNKNOWN (HTTP status 301) during HeadObject operation", "in another region; set AWS_REGION"),
    ],
)
def test_refusals_of_a_store_are_told_by_kind(
    said: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(remote: Remote) -> Any:
        raise OSError(f"{said}; key test-secret")

    monkeypatch.setitem(_STORES, "s3", refuse)
    with pytest.raises(DataError, match=message) as caught:
        _find("s3://rows/one.jsonl", tmp_path, Remote())
    assert "secret" not in str(caught.value)
