"""A model is in Triton's repository whole or not at all."""

from pathlib import Path

import pytest

from workers.deployment.repository import install, remove


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


def test_installed_model_has_every_file_and_no_leftovers(exported, repository):
    (repository / ".demo-1.dead.tmp").mkdir(parents=True)
    target = install(exported, repository, "sha256:a")
    assert [path.name for path in repository.iterdir()] == ["demo-1"]
    assert (target / "config.pbtxt").read_text() == "first"
    assert (target / "1" / "model.py").read_text() == "code"


def test_same_digest_keeps_the_files_another_replaces_them(exported, repository):
    target = install(exported, repository, "sha256:a")
    (exported / "config.pbtxt").unlink()
    (exported / "config.pbtxt").write_text("second")
    install(exported, repository, "sha256:a")
    assert (target / "config.pbtxt").read_text() == "first"
    install(exported, repository, "sha256:b")
    assert (target / "config.pbtxt").read_text() == "second"
    assert [path.name for path in repository.iterdir()] == ["demo-1"]


def test_install_that_fails_leaves_what_was_there(exported, repository, monkeypatch):
    target = install(exported, repository, "sha256:a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workers.deployment.repository.sync_path", full)
    with pytest.raises(OSError, match="No space left"):
        install(exported, repository, "sha256:b")
    assert (target / "config.pbtxt").read_text() == "first"
    assert [path.name for path in repository.iterdir()] == ["demo-1"]


def test_removed_model_is_gone_and_the_export_stays(exported, repository):
    install(exported, repository, "sha256:a")
    remove(repository, "demo-1")
    remove(repository, "demo-1")
    assert list(repository.iterdir()) == []
    assert (exported / "1" / "model.py").read_text() == "code"
