"""Settings come from the environment, in the units people write."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from luthier.settings import CoordinatorSettings, WorkerSettings


@pytest.mark.parametrize(
    ("text", "seconds"), [("3", 3), ("3s", 3), ("500ms", 0.5), ("2m", 120), ("1.5h", 5400), ("PT3S", 3)]
)
def test_a_duration_is_written_as_people_write_it(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    monkeypatch.setenv("LUTHIER_LEASE", text)
    assert CoordinatorSettings().lease == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["soon", "3 days ago", "-", "3x"])
def test_what_is_no_duration_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LUTHIER_LEASE", text)
    with pytest.raises(ValidationError, match="lease"):
        CoordinatorSettings()


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_INTERNAL_TOKEN", "very-secret")
    assert "very-secret" not in repr(WorkerSettings())


def test_a_runner_sees_neither_the_token_nor_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_INTERNAL_TOKEN", "very-secret")
    monkeypatch.setenv("LUTHIER_NATS_URL", "nats://user:very-secret@127.0.0.1:1")
    monkeypatch.setenv("LUTHIER_CHECKPOINT_KEY", "key")
    environment = WorkerSettings().runner_environment()
    assert "very-secret" not in "".join(environment.values())
    assert environment["LUTHIER_CHECKPOINT_KEY"] == "key"


def test_a_runner_keeps_a_bounded_number_of_compiled_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    environment = WorkerSettings().runner_environment()
    assert int(environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) < 1024
    assert environment["LRU_CACHE_CAPACITY"] == "7", "whoever starts the worker has the last word"
