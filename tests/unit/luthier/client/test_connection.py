"""Where the gateway and its key are looked for, and what is refused."""

import json

import pytest

from luthier import errors
from luthier.client.connection import find_connection
from luthier.settings import ClientSettings


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of a running installation, and nothing else in the environment."""
    for name in ("LUTHIER_GATEWAY", "LUTHIER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path))
    (tmp_path / "endpoints.json").write_text(json.dumps({"grpc": "127.0.0.1:7777"}))
    (tmp_path / "api_key").write_text("lk_home\n")
    (tmp_path / "api_key").chmod(0o600)
    return tmp_path


def test_the_home_is_used_when_nothing_else_is_given(home):
    connection = find_connection()
    assert (connection.target, connection.api_key) == ("127.0.0.1:7777", "lk_home")


def test_the_environment_comes_before_the_home_and_arguments_before_both(home, monkeypatch):
    monkeypatch.setenv("LUTHIER_GATEWAY", "127.0.0.1:8888")
    monkeypatch.setenv("LUTHIER_API_KEY", "lk_environment")
    assert find_connection().target == "127.0.0.1:8888"
    assert find_connection().api_key == "lk_environment"
    connection = find_connection("127.0.0.1:9999", "lk_argument", ClientSettings())
    assert (connection.target, connection.api_key) == ("127.0.0.1:9999", "lk_argument")


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "no json"])
def test_without_endpoints_the_remedy_is_named(home, content):
    (home / "endpoints.json").unlink()
    if content is not None:
        (home / "endpoints.json").write_text(content)
    with pytest.raises(errors.UnavailableError, match=r"no gateway: run `luthier up` or set LUTHIER_GATEWAY"):
        find_connection()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(home, mode):
    (home / "api_key").chmod(mode)
    with pytest.raises(errors.UnauthenticatedError, match="chmod 600"):
        find_connection()


def test_a_missing_key_is_named(home):
    (home / "api_key").unlink()
    with pytest.raises(errors.UnauthenticatedError, match="LUTHIER_API_KEY"):
        find_connection()


def test_a_key_is_not_sent_in_clear_text_to_another_machine(home):
    with pytest.raises(errors.InvalidRequestError, match="clear text"):
        find_connection("gateway.example.org:7400")


def test_a_key_is_not_shown(home):
    assert "lk_home" not in repr(find_connection())
