"""Datasets of a hub: a real server with the hub's API, and a directory that stands for one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from luthier.spec.data.location import parse_hub
from tests.unit.workers.data.places.servers import Handler, Server, http_server
from workers.data.places import Downloads, Remote
from workers.data.places.hub_layout import choose
from workers.data.sources import SourceFile, describe, find_files
from workers.failures import ConfigError, DataError, DependencyError, StageError
from workers.task import check_readable

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ROW = b'{"text": "a"}\n'
FILES = {"README.md": b"# Data", "data/train.jsonl": ROW * 3, "data/test.jsonl": ROW, "build.py": b"raise SystemExit"}
CARD = b"""---
configs:
- config_name: small
  data_files: "small/*.jsonl"
- config_name: large
  data_files:
  - {split: train, path: [large/a*.jsonl, large/b.jsonl]}
  - {split: unsupervised, path: large/u.jsonl}
---
# Data
"""
CONFIGURED = ["README.md", "small/one.jsonl", "large/a1.jsonl", "large/b.jsonl", "large/u.jsonl"]


class Hub:
    """What the hub's API says of one dataset."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}"

    def put(self, files: Mapping[str, bytes], said_sha256: str | None = None) -> None:
        info = json.dumps({"id": "org/name", "sha": COMMIT, "siblings": [], "private": False, "tags": []}).encode()
        tree = json.dumps([_entry(path, data, said_sha256) for path, data in files.items()]).encode()
        answers = {"/api/datasets/org/name": info, f"/api/datasets/org/name/tree/{COMMIT}": tree}
        answers |= {
            f"/api/datasets/org/name/revision/{one}": info for one in (COMMIT, "v1", "refs%2Fconvert%2Fparquet")
        }
        answers |= {f"/datasets/org/name/resolve/{COMMIT}/{path}": data for path, data in files.items()}
        for path, body in answers.items():
            self.server.answers[path] = partial(_send, body)


def _send(body: bytes, request: Handler) -> None:
    request.send(200, body, Content_Type="application/json", X_Repo_Commit=COMMIT, ETag='"x"')


def _entry(path: str, data: bytes, said_sha256: str | None) -> dict[str, Any]:
    sha256 = said_sha256 or hashlib.sha256(data).hexdigest()
    lfs = {"oid": sha256, "size": len(data), "pointerSize": 100} if path.startswith("data/") else None
    return {"type": "file", "path": path, "size": len(data), "oid": "0" * 40} | ({"lfs": lfs} if lfs else {})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with http_server() as server:
        made = Hub(server)
        made.put(FILES)
        yield made


def _find(path: str, folder: Path, hub: str, roots: str = "hf://datasets/org", **settings: Any) -> list[SourceFile]:
    folder.mkdir(exist_ok=True)
    downloads = Downloads(folder, Remote(hub_url=hub, **{"max_bytes": 1 << 20, **settings}), lambda message: None)
    return find_files(path, "data.path", "train", "auto", lambda path, key: check_readable(path, key, roots), downloads)


@pytest.mark.parametrize("revision", ["", "@v1", "@refs/convert/parquet"])
def test_revision_becomes_the_commit_that_is_read_and_recorded(hub: Hub, tmp_path: Path, revision: str) -> None:
    found = _find(f"hf://datasets/org/name{revision}", tmp_path / "d", hub.url)
    assert [(file.uri, file.split) for file in found] == [
        (f"hf://datasets/org/name@{COMMIT}/data/test.jsonl", "test"),
        (f"hf://datasets/org/name@{COMMIT}/data/train.jsonl", "train"),
    ]
    assert [Path(file.path).read_bytes() for file in found] == [FILES["data/test.jsonl"], FILES["data/train.jsonl"]]
    described = describe(found[1], "auto", "data.path", ["text"])
    assert described.sha256 == hashlib.sha256(FILES["data/train.jsonl"]).hexdigest()
    assert not any("build.py" in path and "resolve" in path for path, _ in hub.server.asked)


def test_file_that_is_not_what_the_hub_promised_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.put(FILES, said_sha256="0" * 64)
    found = _find("hf://datasets/org/name", tmp_path / "d", hub.url)
    with pytest.raises(DependencyError, match="was damaged on its way here"):
        describe(found[0], "auto", "data.path", ["text"])


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("hf://datasets/org/name/data/train.jsonl", ["data/train.jsonl"]),
        ("hf://datasets/org/name/data", ["data/test.jsonl", "data/train.jsonl"]),
        ("hf://datasets/org/name/**/t*n.jsonl", ["data/train.jsonl"]),
        ("hf://datasets/org/name?split=test", ["data/test.jsonl"]),
    ],
)
def test_part_of_a_dataset_may_be_named(hub: Hub, tmp_path: Path, path: str, names: list[str]) -> None:
    found = _find(path, tmp_path / "d", hub.url)
    assert [(file.name, file.split) for file in found] == [(name, "train") for name in names]


@pytest.mark.parametrize(
    ("status", "code", "kind", "message"),
    [
        (401, "RepoNotFound", ConfigError, "check name and revision"),
        (404, "RepoNotFound", ConfigError, "check name and revision"),
        (404, "RevisionNotFound", ConfigError, "check name and revision"),
        (403, "GatedRepo", ConfigError, "accept its terms"),
        (503, "", DependencyError, "answers 503"),
        (400, "", DataError, "answers 400"),
    ],
)
def test_what_the_hub_refuses_is_told(
    hub: Hub, tmp_path: Path, status: int, code: str, kind: type[StageError], message: str
) -> None:
    hub.server.answers["/api/datasets/org/name"] = lambda request: request.send(status, X_Error_Code=code)
    with pytest.raises(kind, match=message) as caught:
        _find("hf://datasets/org/name", tmp_path / "d", hub.url)
    assert "hf_secret" not in str(caught.value)


def test_hub_that_is_not_there_is_asked_again(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="cannot be had from the hub"):
        _find("hf://datasets/org/name", tmp_path / "d", "http://127.0.0.1:1")


def test_limit_and_roots_hold_for_the_hub(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="LUTHIER_DATA_DOWNLOAD_BYTES"):
        _find("hf://datasets/org/name", tmp_path / "d", hub.url, max_bytes=20)
    hub.server.asked.clear()
    with pytest.raises(ConfigError, match="LUTHIER_DATA_ROOTS"):
        _find("hf://datasets/other/name", tmp_path / "d", hub.url)
    assert hub.server.asked == []


def test_directory_may_stand_for_the_hub(tmp_path: Path) -> None:
    for name, data in FILES.items():
        path = tmp_path / "hub" / "datasets" / "org" / "name" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = _find("hf://datasets/org/name", tmp_path / "d", str(tmp_path / "hub"))
    assert [(file.uri, file.split) for file in found] == [
        ("hf://datasets/org/name/data/test.jsonl", "test"),
        ("hf://datasets/org/name/data/train.jsonl", "train"),
    ]
    with pytest.raises(ConfigError, match="keeps no revisions"):
        _find("hf://datasets/org/name@v1", tmp_path / "d", str(tmp_path / "hub"))
    with pytest.raises(ConfigError, match="has no dataset org/other"):
        _find("hf://datasets/org/other", tmp_path / "d", str(tmp_path / "hub"))


def _choose(names: list[str], query: str = "", card: bytes = b"") -> list[tuple[str, str | None]]:
    return choose(names, parse_hub(f"hf://datasets/org/name{query}"), card, "data.path: x")


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["a.csv", "b.csv"], [("a.csv", None), ("b.csv", None)]),
        (["train.csv", "valid.csv", "more.csv"], [("train.csv", "train"), ("valid.csv", "validation")]),
        (["train/test-1.csv", "dev/0.csv"], [("train/test-1.csv", "train"), ("dev/0.csv", "validation")]),
        (["data/eval-00000-of-00001.parquet"], [("data/eval-00000-of-00001.parquet", "test")]),
        (["latest.csv", "trained.csv"], [("latest.csv", None), ("trained.csv", None)]),
        (["train/data-0.arrow", "train/state.json", "dataset_infos.json"], [("train/data-0.arrow", "train")]),
        ([".git/train.csv", "a.csv", "a.py", "a.png"], [("a.csv", None)]),
    ],
)
def test_splits_are_told_by_names(names: list[str], chosen: list[tuple[str, str | None]]) -> None:
    assert _choose(names) == chosen


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("?config=small", [("small/one.jsonl", None)]),
        ("?config=large&split=train", [("large/a1.jsonl", None), ("large/b.jsonl", None)]),
        ("?config=large&split=unsupervised", [("large/u.jsonl", None)]),
    ],
)
def test_card_decides_before_names(query: str, chosen: list[tuple[str, str | None]]) -> None:
    assert _choose(CONFIGURED, query, CARD) == chosen


@pytest.mark.parametrize(
    ("names", "query", "card", "message"),
    [
        (CONFIGURED, "", CARD, r"has the configs small, large; choose one of them by \?config=NAME"),
        (CONFIGURED, "?config=other", CARD, "no config 'other'; it has small, large"),
        (CONFIGURED, "?config=large", CARD, "the split 'unsupervised', which is none of"),
        (CONFIGURED, "?config=large&split=dev", CARD, "no split 'dev'; it has train, unsupervised"),
        (["README.md"], "?config=small", CARD, r"names small/\*\.jsonl, but nothing there can be read"),
        (["a.csv"], "?config=small", b"", "no config 'small'; it has none"),
        (["name.py", "README.md"], "", b"", "made by a script, and scripts are not run; .*refs/convert/parquet"),
        (["a.png"], "", b"", "no data files that can be read; expected JSON"),
        (["a.csv"], "", b"---\nconfigs: [\n---\n", "README.md cannot be read"),
        (["a.csv"], "/b", b"", "nothing in the repository fits 'b'"),
    ],
)
def test_what_is_not_clear_is_refused(names: list[str], query: str, card: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _choose(names, query, card)
