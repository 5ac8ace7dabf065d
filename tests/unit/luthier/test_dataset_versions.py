"""Versions in a local store and in one of objects: what is there, and taking one out."""

import os
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from luthier.artifacts import join, publish
from luthier.dataset_versions import datasets_uri, erase, list_versions, version_uri, withdraw, withdrawn

VERSION, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture(params=["local", "memory"])
def datasets(request, tmp_path):
    """Where a project has its datasets."""
    if request.param == "local":
        yield datasets_uri(str(tmp_path / "artifacts"), "default")
        return
    filesystem = fsspec.filesystem("memory")
    yield datasets_uri("memory://artifacts", "default")
    filesystem.rm("/artifacts", recursive=True)


def put(datasets, version, name, tmp_path, text="rows"):
    folder = tmp_path / "new"
    folder.mkdir(exist_ok=True)
    (folder / "train.arrow").write_text(text)
    return publish(folder, join(version_uri(datasets, version), name))


def exists(uri):
    filesystem, path = fsspec.core.url_to_fs(uri)
    return filesystem.exists(path)


def test_no_datasets_are_no_versions(datasets):
    fsspec.filesystem("memory").makedirs("/artifacts", exist_ok=True)
    assert list_versions(datasets) == []
    assert withdrawn(datasets) == []
    assert withdraw(datasets, VERSION) == []


def test_versions_are_listed_with_what_they_take(datasets, tmp_path):
    for name in ("stg-1-1", "stg-2-2"):
        ref = put(datasets, VERSION, name, tmp_path)
    put(datasets, OTHER, "stg-3-3", tmp_path, "more rows")
    filesystem, path = fsspec.core.url_to_fs(version_uri(datasets, VERSION))
    filesystem.makedirs(join(path, "stg-4-4.0123.tmp"), exist_ok=True)
    filesystem.pipe_file(join(path, "stg-4-4.0123.tmp", "train.arrow"), b"x" * 1000)
    filesystem.pipe_file(join(os.path.dirname(path), "notes.txt"), b"no version")
    found = {stored.version: stored for stored in list_versions(datasets)}
    assert set(found) == {VERSION, OTHER}
    assert (found[VERSION].num_datasets, found[OTHER].num_datasets) == (2, 1)
    assert found[VERSION].num_bytes > 2 * ref.num_bytes + 1000
    assert abs((datetime.now(UTC) - found[VERSION].written_time).total_seconds()) < 3600


def test_a_withdrawn_version_is_gone_at_once_and_a_later_dataset_of_it_stays(datasets, tmp_path):
    old = put(datasets, VERSION, "stg-1-1", tmp_path)
    left = withdraw(datasets, VERSION)
    assert left
    assert not exists(join(old.uri, "manifest.json"))
    new = put(datasets, VERSION, "stg-2-2", tmp_path)
    erase(left)
    erase(left)
    assert not exists(old.uri)
    assert exists(join(new.uri, "train.arrow"))
    (stored,) = list_versions(datasets)
    assert (stored.num_datasets, stored.version) == (1, VERSION)


def test_a_folder_without_a_dataset_has_no_time(datasets, tmp_path):
    filesystem, path = fsspec.core.url_to_fs(version_uri(datasets, VERSION))
    filesystem.makedirs(join(path, "stg-1-1"), exist_ok=True)
    filesystem.pipe_file(join(path, "stg-1-1", "train.arrow"), b"x")
    (stored,) = list_versions(datasets)
    assert (stored.num_datasets, stored.written_time) == (0, None)


def test_what_a_crash_left_is_found_and_nothing_else(tmp_path):
    datasets = datasets_uri(str(tmp_path / "artifacts"), "default")
    put(datasets, VERSION, "stg-1-1", tmp_path)
    left = withdraw(datasets, VERSION)
    for name in (".hidden.tmp", "a.tmp", ".".join(("", "c" * 64, "tmp"))):
        Path(datasets, name).mkdir()
    assert withdrawn(datasets) == left
    erase(withdrawn(datasets))
    assert withdrawn(datasets) == []
    assert len(list(Path(datasets).iterdir())) == 3


def test_what_is_withdrawn_while_it_is_listed_is_left_out(datasets, tmp_path, monkeypatch: pytest.MonkeyPatch):
    for version in (VERSION, OTHER):
        put(datasets, version, "stg-1-1", tmp_path)
    store = type(fsspec.core.url_to_fs(datasets)[0])
    modified = store.modified

    def withdraw_first(self, path):
        withdraw(datasets, VERSION)
        return modified(self, path)

    monkeypatch.setattr(store, "modified", withdraw_first)
    assert [stored.num_datasets for stored in list_versions(datasets) if stored.version == OTHER] == [1]
    assert sum(stored.num_datasets for stored in list_versions(datasets)) == 1
