"""What the children of `luthier up` see of the environment."""

import pytest

from luthier.settings import service_environment, system_environment


def test_secrets_and_unknown_variables_stay_with_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = ("LUTHIER_API_KEY", "LUTHIER_DATABASE_URL", "GITHUB_TOKEN", "PYTHONPATH")
    for name in kept:
        monkeypatch.setenv(name, "secret")
    assert not set(kept) & set(service_environment())


def test_services_get_their_knobs_and_other_programs_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    knobs = {"LUTHIER_LEASE": "PT3S", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "HF_HOME": "/x"}
    for name, value in knobs.items():
        monkeypatch.setenv(name, value)
    assert knobs.items() <= service_environment().items()
    assert not set(knobs) & set(system_environment())
    assert system_environment().items() <= service_environment().items()
