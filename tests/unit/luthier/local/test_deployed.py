"""A deployed model that was damaged is not loaded when the server starts again; the others are."""

from pathlib import Path

import pytest

from luthier.artifacts import seal
from luthier.local.deployed import set_aside_damaged
from tests.bit_flip import files_of, flip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("good", "other"):
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(name)
        (tmp_path / name / "1" / "model.py").write_text("code")
        seal(tmp_path / name)
    (tmp_path / ".other.0123abcd.tmp").mkdir()
    return tmp_path


def test_sound_models_stay_and_the_bytecode_that_a_server_left_goes(repository: Path) -> None:
    bytecode = repository / "good" / "1" / "__pycache__"
    bytecode.mkdir()
    (bytecode / "model.cpython-311.pyc").write_bytes(b"derived")
    said: list[str] = []
    set_aside_damaged(repository, said.append)
    assert _visible(repository) == {"good", "other"}
    assert said == []
    assert not bytecode.exists()


@pytest.mark.parametrize("name", ["config.pbtxt", "1/model.py", "manifest.json"])
def test_one_flipped_bit_and_the_model_is_set_aside(repository: Path, name: str) -> None:
    assert repository / "other" / name in files_of(repository / "other")
    flip(repository / "other" / name)
    said: list[str] = []
    set_aside_damaged(repository, said.append)
    assert _visible(repository) == {"good"}
    assert [str(repository / "other" / name) in text for text in said] == [True]


def test_a_repository_that_is_not_there_yet_has_no_damaged_models(tmp_path: Path) -> None:
    set_aside_damaged(tmp_path / "none", print)


def _visible(repository: Path) -> set[str]:
    return {path.name for path in repository.iterdir() if not path.name.startswith(".")}
