"""A model is in Triton's repository whole or not at all, and is what was exported."""

from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import seal
from tests.bit_flip import files_of, flip
from workers.deployment import repository as module
from workers.deployment.repository import install, remove
from workers.failures import DependencyError


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "triton" / "demo-1"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text("first")
    (folder / "1" / "model.py").write_text("code")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def _files(exported: Path) -> dict[str, Any]:
    return seal(exported.parent.parent).below("triton/demo-1")


def _install(exported: Path, repository: Path) -> Path:
    return install(exported, _files(exported), repository)


def test_installed_model_has_every_file_and_no_leftovers(exported, repository):
    (repository / ".demo-1.dead.tmp").mkdir(parents=True)
    target = _install(exported, repository)
    assert [path.name for path in repository.iterdir()] == ["demo-1"]
    assert (target / "config.pbtxt").read_text() == "first"
    assert (target / "1" / "model.py").read_text() == "code"


def test_same_model_keeps_its_files_another_replaces_them(exported, repository):
    target = _install(exported, repository)
    before = target.stat().st_ino
    _install(exported, repository)
    assert target.stat().st_ino == before
    (exported / "config.pbtxt").unlink()
    (exported / "config.pbtxt").write_text("second")
    _install(exported, repository)
    assert (target / "config.pbtxt").read_text() == "second"
    assert [path.name for path in repository.iterdir()] == ["demo-1"]


def test_one_flipped_bit_in_any_file_and_the_model_is_copied_anew(exported, repository, caplog, monkeypatch):
    monkeypatch.setattr(module, "link_or_copy", _copy)  # the repository is on a disk of its own
    target = _install(exported, repository)
    for path in files_of(target):
        before = path.read_bytes()
        flip(path)
        _install(exported, repository)
        assert path.read_bytes() == before
        assert str(path) in caplog.text
    assert [path.name for path in repository.iterdir()] == ["demo-1"]


def test_a_copy_that_differs_is_not_installed(exported, repository, monkeypatch):
    def damage(source: str, target: str) -> str:
        _copy(source, target)
        flip(Path(target))
        return target

    monkeypatch.setattr(module, "link_or_copy", damage)
    with pytest.raises(DependencyError, match="differs from it"):
        _install(exported, repository)
    assert list(repository.iterdir()) == []


def test_install_that_fails_leaves_what_was_there(exported, repository, monkeypatch):
    target = _install(exported, repository)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (exported / "1" / "more.py").write_text("code")
    monkeypatch.setattr("workers.deployment.repository.sync_path", full)
    with pytest.raises(OSError, match="No space left"):
        _install(exported, repository)
    assert (target / "config.pbtxt").read_text() == "first"
    assert [path.name for path in repository.iterdir()] == ["demo-1"]


def test_removed_model_is_gone_and_the_export_stays(exported, repository):
    _install(exported, repository)
    remove(repository, "demo-1")
    remove(repository, "demo-1")
    assert list(repository.iterdir()) == []
    assert (exported / "1" / "model.py").read_text() == "code"


def _copy(source: str, target: str) -> str:
    Path(target).write_bytes(Path(source).read_bytes())
    return target
