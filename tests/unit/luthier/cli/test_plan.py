"""`luthier plan`: what it finds out without a gateway, a worker or a model's weights."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.luthier.planning.test_shape import LLAMA_70B


@pytest.fixture
def job(tmp_path: Path) -> Any:
    """A function that writes a job file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "job.json"
        document = {"name": "x", "base_model": "smollm2-135m-instruct", "data": {"path": "rows.jsonl"}}
        path.write_text(json.dumps(document | changes))
        return path

    return write


def _plan(luthier: Any, *arguments: Any) -> dict[str, Any]:
    return json.loads(luthier("plan", *arguments, "--no-probe", "-o", "json").stdout)


def test_the_model_of_the_catalogue_is_planned_without_being_here(luthier: Any, job: Any) -> None:
    plan = _plan(luthier, job())["plan"]
    assert plan["num_parameters"] == 134_515_008
    assert plan["best"]
    assert plan["quickest"]


def test_a_config_and_the_length_of_the_data_give_time_and_price(luthier: Any, job: Any, tmp_path: Path) -> None:
    config, report = tmp_path / "config.json", tmp_path / "report.json"
    config.write_text(json.dumps(LLAMA_70B))
    train = {"num_rows": 9000, "num_tokens": 3_000_000, "num_trainable_tokens": 900_000, "lengths": {"max": 1000}}
    report.write_text(json.dumps({"splits": {"train": train}}))
    arguments = (job(base_model="org/70b"), "--config", config, "--data-report", report)
    plan = _plan(luthier, *arguments, "--hardware", "8 x H100 80GB")["plan"]
    (best,) = plan["best"]
    assert best["cost"]["seconds"] > 0
    assert best["cost"]["price"] == pytest.approx(24 * best["cost"]["seconds"] / 3600)
    assert plan["cheapest"] == "8 x H100 80GB"
    text = luthier("plan", *arguments, "--no-probe").stdout
    assert "8 x H100 80GB" in text
    assert "host" in text
    assert best["memory"]["host_bytes"] / 2**30 == pytest.approx(140, rel=0.01)
    assert "cheapest" in text


def test_nothing_fits_and_it_says_what_would(luthier: Any, job: Any, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text(json.dumps(LLAMA_70B))
    path = job(base_model="./base", method={"type": "full"})
    text = luthier("plan", path, "--no-probe", "--hardware", "1 x L4").stdout
    assert "the least that this job needs on 1 x L4" in text
    assert "such devices" in text


def test_a_model_that_is_not_here_leaves_the_stages(luthier: Any, job: Any) -> None:
    document = _plan(luthier, job(base_model="org/unheard-of"))
    assert document["plan"] is None
    assert "--config" in document["not_planned"]
    assert document["stages"]


def test_a_table_of_ones_own_has_ones_own_prices(
    luthier: Any, job: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mine.yaml"
    row = "{name: mine, memory_gib: 24, bf16_tflops: 100, fp32_tflops: 50, bandwidth_gb_s: 900, efficiency: 0.3}"
    table.write_text(f"currency: EUR\nhardware:\n- {row}\n")
    monkeypatch.setenv("LUTHIER_HARDWARE", str(table))
    plan = _plan(luthier, job())["plan"]
    assert [layout["hardware"] for layout in plan["asked"]] == ["mine"]
    assert plan["currency"] == "EUR"
