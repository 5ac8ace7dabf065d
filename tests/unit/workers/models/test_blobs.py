"""A damaged file in the cache of the hub's library is found, named, removed, and fetched again."""

import hashlib
from pathlib import Path

import pytest
from huggingface_hub.utils.sha import git_hash

from luthier.settings import WorkerSettings
from tests.bit_flip import files_of, flip
from workers.failures import DependencyError
from workers.models import resolve_base_model
from workers.models.blobs import check_blobs

COMMIT = "0" * 40


@pytest.fixture
def snapshot(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The tiny model as `snapshot_download` leaves it: links to blobs, weights by sha256, the rest by git's hash."""
    repository = tmp_path / "cache" / "hub" / "models--org--model"
    folder = repository / "snapshots" / COMMIT
    for name in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (repository / name).mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for path in files_of(tiny_model_dir):
        content = path.read_bytes()
        is_large = path.suffix == ".safetensors"
        blob = repository / "blobs" / (hashlib.sha256(content).hexdigest() if is_large else git_hash(content))
        blob.write_bytes(content)
        (folder / path.name).symlink_to(Path("../../blobs") / blob.name)
    return folder


def test_a_flipped_bit_is_found_in_every_file_and_the_file_is_removed(snapshot: Path) -> None:
    check_blobs(snapshot)
    for path in files_of(snapshot):
        content, blob = path.read_bytes(), path.resolve()
        flip(path)
        with pytest.raises(DependencyError, match="was damaged and is removed") as caught:
            check_blobs(snapshot)
        assert str(path) in str(caught.value)
        assert not blob.exists()
        assert not path.is_symlink()
        blob.write_bytes(content)
        path.symlink_to(blob)
    check_blobs(snapshot)


def test_a_model_of_the_hub_is_verified_whenever_it_is_used(snapshot: Path, tmp_path: Path) -> None:
    settings = WorkerSettings(model_cache=tmp_path / "cache", hub_url="http://127.0.0.1:9")
    assert resolve_base_model("org/model", settings) == snapshot
    flip(snapshot / "model.safetensors")
    with pytest.raises(DependencyError, match=r"model\.safetensors in the cache of the model hub was damaged"):
        resolve_base_model("org/model", settings)
