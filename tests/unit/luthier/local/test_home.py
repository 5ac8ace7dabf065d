"""Files of LUTHIER_HOME: private, whole, kept."""

import os
import stat
from pathlib import Path

import pytest

from luthier.local.home import Home, HomeInUseError, write_json


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_may_look_into_the_home(home: Home) -> None:
    assert mode(home.path) == (0o711 if os.geteuid() == 0 else 0o700)
    assert {mode(folder) for folder in home.path.iterdir()} == {0o700}


def test_secrets_and_api_key_are_made_once_and_private(home: Home) -> None:
    assert home.secrets() == home.secrets()
    assert home.api_key() == home.api_key()
    assert home.api_key().startswith("lk_")
    assert len(home.api_key()) == len("lk_") + 43
    assert mode(home.path / "secrets.json") == mode(home.api_key_file) == 0o600


def test_secrets_do_not_show_in_a_repr(home: Home) -> None:
    secrets = home.secrets()
    assert not any(value in repr(secrets) for value in vars(secrets).values())


def test_replacing_a_file_keeps_it_private_and_leaves_nothing_behind(home: Home) -> None:
    path = home.path / "some.json"
    path.write_text("{}")
    path.chmod(0o644)
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n "a": 1\n}\n'
    assert mode(path) == 0o600
    assert [file.name for file in home.path.iterdir() if file.is_file()] == ["some.json"]


def test_a_second_launcher_is_kept_out_until_the_first_is_gone(home: Home) -> None:
    with home.locked(), pytest.raises(HomeInUseError, match=str(home.path)), home.locked():
        pass
    with home.locked():
        pass
