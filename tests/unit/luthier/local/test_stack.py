"""Which children a home gets, and what each of them is told."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from luthier.local import stack
from luthier.local.child import ChildSpec
from luthier.local.home import Home
from luthier.local.serving_venv import ServingUnavailableError, ServingVenv
from luthier.local.stack import PORTS, Stack, build_stack
from luthier.settings import LocalSettings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create()
    return home


@pytest.fixture(autouse=True)
def _no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "has_accelerator", lambda: False)
    monkeypatch.setattr(stack, "ensure_serving_venv", lambda folder, say: ServingVenv(folder))


async def build(home: Home, **settings: object) -> Stack:
    ports = {role: 20000 + number for number, role in enumerate(PORTS)}
    return await build_stack(home, LocalSettings.model_validate(settings), ports, say=lambda text: None)


def names(built: Stack) -> list[str]:
    return [child.name for child in built.children]


def child(built: Stack, name: str) -> ChildSpec:
    return next(child for child in built.children if child.name == name)


async def test_the_database_comes_first_and_workers_last(home: Home) -> None:
    assert names(await build(home)) == ["postgres", "nats", "coordinator", "gateway", "triton", "worker-cpu"]


async def test_an_accelerator_gets_a_worker_of_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "has_accelerator", lambda: True)
    built = await build(home)
    assert names(built)[-2:] == ["worker-cpu", "worker-gpu"]
    assert child(built, "worker-gpu").environment["LUTHIER_WORKER_CLASSES"] == "gpu"


async def test_what_runs_elsewhere_is_not_started(home: Home) -> None:
    built = await build(
        home,
        database_url=SecretStr("postgresql://db/x"),
        nats_url=SecretStr("nats://bus:4222"),
        triton_url="triton:8001",
        triton_repository="/models",
        artifacts="s3://bucket",
    )
    assert names(built) == ["coordinator", "gateway", "worker-cpu"]
    told = child(built, "worker-cpu").environment
    assert told["LUTHIER_NATS_URL"] == "nats://bus:4222"
    assert told["LUTHIER_TRITON_URL"] == built.endpoints["triton_grpc"] == "triton:8001"
    assert told["LUTHIER_TRITON_REPOSITORY"] == "/models"
    assert told["LUTHIER_ARTIFACTS"] == "s3://bucket"


async def test_without_a_triton_the_worker_knows_why_and_the_rest_runs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, say: object) -> ServingVenv:
        raise ServingUnavailableError("there is no wheel for this platform")

    monkeypatch.setattr(stack, "ensure_serving_venv", refuse)
    built = await build(home)
    assert names(built) == ["postgres", "nats", "coordinator", "gateway", "worker-cpu"]
    told = child(built, "worker-cpu").environment
    assert told["LUTHIER_TRITON_URL"] == ""
    assert told["LUTHIER_TRITON_UNAVAILABLE_REASON"] == built.triton_unavailable_reason
    assert "no wheel" in built.triton_unavailable_reason


async def test_secrets_reach_only_who_needs_them_and_no_argument_list(home: Home) -> None:
    built = await build(home, database_url=SecretStr("postgresql://me:dbpass@db/x"))
    secrets = home.secrets()
    told = {child.name: " ".join(child.environment.values()) for child in built.children}
    holders = {
        "dbpass": {"coordinator"},
        secrets.internal_token: {"coordinator", "gateway", "worker-cpu"},
        secrets.nats_password: {"coordinator", "worker-cpu"},
        secrets.checkpoint_key: {"worker-cpu"},
    }
    for secret, who in holders.items():
        assert {name for name, text in told.items() if secret in text} == who
        assert not any(secret in part for child in built.children for part in child.argv)
        assert secret not in repr(built)


async def test_the_local_worker_may_read_what_its_owner_may(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert child(await build(home), "worker-cpu").environment["LUTHIER_DATA_ROOTS"] == "/,hf://datasets"
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", "/data")
    assert child(await build(home), "worker-cpu").environment["LUTHIER_DATA_ROOTS"] == "/data"
