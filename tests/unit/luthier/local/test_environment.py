"""What the children of `luthier up` see of the environment."""

import pytest

from luthier.settings import WorkerSettings, service_environment, system_environment, worker_secrets


def test_secrets_and_unknown_variables_stay_with_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("LUTHIER_API_KEY", "LUTHIER_DATABASE_URL", "GITHUB_TOKEN", "PYTHONPATH")
    for name in kept:
        monkeypatch.setenv(name, "secret")
    assert not set(kept) & set(service_environment())


def test_services_get_their_knobs_and_other_programs_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    knobs = {"LUTHIER_LEASE": "PT3S", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": "/x"}
    knobs["TORCH_EXTENSIONS_DIR"] = "/y"
    for name, value in knobs.items():
        monkeypatch.setenv(name, value)
    assert knobs.items() <= service_environment().items()
    assert not set(knobs) & set(system_environment())


def test_threads_of_a_runner_wait_longer_for_each_other_than_those_of_other_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert "GOMP_SPINCOUNT" not in service_environment(), "a worker would hand it on to its runners"
    of_runners = WorkerSettings().runner_environment()["GOMP_SPINCOUNT"]
    assert int(of_runners) > int(system_environment()["GOMP_SPINCOUNT"])
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert service_environment()["GOMP_SPINCOUNT"] == "7"
    assert WorkerSettings().runner_environment()["GOMP_SPINCOUNT"] == "7"


def test_keys_of_endpoints_are_for_workers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_WRITER_KEYS", "one,two")
    monkeypatch.setenv("LUTHIER_WRITER_ENDPOINTS", "http://a/v1,http://b/v1")
    assert "LUTHIER_WRITER_KEYS" not in service_environment()
    assert service_environment()["LUTHIER_WRITER_ENDPOINTS"] == "http://a/v1,http://b/v1"
    assert worker_secrets()["LUTHIER_WRITER_KEYS"] == "one,two"
