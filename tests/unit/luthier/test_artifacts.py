"""An artifact is complete or invisible, and what was changed is refused."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier import artifacts
from luthier.artifacts import ArtifactError


def _folder(parent: Path, text: str = "weights") -> Path:
    folder = parent / "made"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text(text)
    (folder / "sub" / "b.txt").write_text("more")
    return folder


@pytest.fixture(params=["local", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to publish: a directory, and a store that is not a local disk."""
    return str(tmp_path / "store" / "one") if request.param == "local" else f"memory://{tmp_path.name}/one"


def test_what_is_published_comes_back_verified(tmp_path: Path, uri: str) -> None:
    ref = artifacts.publish(_folder(tmp_path), uri, extra={"step": 3})
    folder = artifacts.fetch(uri, tmp_path / "copy", digest=ref.digest)
    assert (folder / "sub" / "b.txt").read_text() == "more"
    assert ref.num_bytes == len("weights") + len("more")
    assert artifacts.read_manifest(uri).extra == {"step": 3}


def test_the_digest_is_the_content_not_the_place(tmp_path: Path) -> None:
    first = artifacts.publish(_folder(tmp_path / "x"), str(tmp_path / "one"))
    second = artifacts.publish(_folder(tmp_path / "y"), str(tmp_path / "two"))
    other = artifacts.publish(_folder(tmp_path / "z", "changed"), str(tmp_path / "three"))
    assert first.digest == second.digest != other.digest


def test_publishing_again_is_a_no_op_and_something_else_is_refused(tmp_path: Path, uri: str) -> None:
    first = artifacts.publish(_folder(tmp_path / "x"), uri)
    assert artifacts.publish(_folder(tmp_path / "y"), uri) == first
    with pytest.raises(ArtifactError, match="is another artifact"):
        artifacts.publish(_folder(tmp_path / "z", "changed"), uri)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "a.txt").write_text("wEights"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "a.txt").write_text("weights and more"),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
    ids=["flipped", "missing", "longer", "broken manifest", "no manifest"],
)
def test_a_damaged_artifact_is_refused(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    target = tmp_path / "store" / "one"
    artifacts.publish(_folder(tmp_path), str(target))
    damage(target)
    with pytest.raises(ArtifactError, match="one"):
        artifacts.fetch(str(target), tmp_path / "copy")


def test_a_recorded_digest_catches_a_consistent_replacement(tmp_path: Path) -> None:
    ref = artifacts.publish(_folder(tmp_path / "x"), str(tmp_path / "one"))
    artifacts.delete(ref.uri)
    artifacts.publish(_folder(tmp_path / "y", "changed"), str(tmp_path / "one"))
    with pytest.raises(ArtifactError, match="changed after it was recorded"):
        artifacts.fetch(ref.uri, tmp_path / "copy", digest=ref.digest)


def test_only_our_signature_is_accepted(tmp_path: Path) -> None:
    signed, unsigned = str(tmp_path / "signed"), str(tmp_path / "unsigned")
    artifacts.publish(_folder(tmp_path / "x"), signed, key=b"ours")
    artifacts.publish(_folder(tmp_path / "y"), unsigned)
    artifacts.fetch(signed, tmp_path / "copy", key=b"ours")
    for uri, key in ((signed, b"theirs"), (unsigned, b"ours")):
        with pytest.raises(ArtifactError, match="not signed by this installation"):
            artifacts.fetch(uri, tmp_path / "copy", key=key)


def test_a_manifest_cannot_name_files_outside(tmp_path: Path) -> None:
    target = tmp_path / "one"
    artifacts.publish(_folder(tmp_path), str(target))
    document = json.loads((target / "manifest.json").read_text())
    document["files"]["../../secret"] = {"bytes": 1, "sha256": "0"}
    document["digest"] = artifacts.Manifest(document["files"], document["extra"]).digest
    (target / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="outside the artifact"):
        artifacts.fetch(str(target), tmp_path / "copy")


def test_a_link_is_no_artifact(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(ArtifactError, match="plain file"):
        artifacts.publish(folder, str(tmp_path / "one"))


def test_a_full_disk_leaves_nothing_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        artifacts.publish(_folder(tmp_path), str(tmp_path / "store" / "one"))
    assert list((tmp_path / "store").iterdir()) == []


def test_any_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path) -> None:
    target = tmp_path / "one"
    ref = artifacts.publish(_folder(tmp_path), str(target), extra={"step": 3})
    good = (target / "manifest.json").read_bytes()
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        (target / "manifest.json").write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"one/manifest\.json"):
            artifacts.fetch(ref.uri, tmp_path / "copy")


def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "one"
    artifacts.publish(_folder(tmp_path), str(target))
    (target / "sub" / "more.txt").write_text("planted")
    with pytest.raises(ArtifactError, match=r"one/sub/more\.txt is not in its manifest"):
        artifacts.fetch(str(target), tmp_path / "copy")


def test_a_sealed_folder_is_an_artifact_where_it_lies(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    sealed = artifacts.seal(folder)
    assert artifacts.fetch(str(folder), tmp_path / "copy", digest=sealed.digest) == folder
    assert set(artifacts.read_manifest(str(folder)).below("sub")) == {"b.txt"}
