"""A function of the user's own runs where the worker's settings name it, and nowhere else."""

import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.settings import WorkerSettings
from luthier.spec import CustomSpec
from tests.unit.workers.training.methods import rows
from workers import extensions
from workers.failures import ConfigError
from workers.models import load_model
from workers.models.custom import METHOD_FUNCTIONS
from workers.models.tuned import ADAPTER, load_tuned
from workers.training.methods import METHODS

PAGE = Path(__file__).parents[5] / "docs" / "custom-methods.md"
OURS = f"{rows.__name__}:scale_feed_forward"
OPTIONS = {"start": 0.5}
FP32 = torch.float32


def spec(entry_point: str, **options: Any) -> CustomSpec:
    return CustomSpec(type="custom", entry_point=entry_point, options=options or OPTIONS)


@pytest.mark.parametrize("allowed", ["", "os:system", OURS.split(":")[0], f"{OURS}x", "*"])
def test_a_function_that_the_settings_do_not_name_is_refused(allowed: str) -> None:
    with pytest.raises(ConfigError, match=r"is not allowed on this worker; .* LUTHIER_CUSTOM_METHODS"):
        METHODS["custom"].check(spec(OURS), WorkerSettings(custom_methods=allowed))


def test_a_function_that_they_name_is_allowed() -> None:
    METHODS["custom"].check(spec(OURS), WorkerSettings(custom_methods=f"other, {OURS}"))
    assert "LUTHIER_CUSTOM_METHODS" in WorkerSettings(custom_methods=OURS).runner_environment()


def test_a_saved_adapter_calls_nothing_that_is_not_allowed(base_dir: Path, tmp_path: Path) -> None:
    method = METHODS["custom"]
    method.save(method.adapt(load_model(base_dir, FP32), spec(OURS)), base_dir, tmp_path)
    config = tmp_path / ADAPTER / "adapter_config.json"
    with pytest.raises(ConfigError, match="is not allowed on this worker"):
        load_tuned(base_dir, tmp_path, FP32)
    config.write_text(config.read_text().replace(OURS, "os:abort"))
    with pytest.raises(ConfigError, match="'os:abort' is not allowed on this worker"):
        load_tuned(base_dir, tmp_path, FP32, OURS)


def test_an_entry_point_of_a_package_is_found(base_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = EntryPoints([EntryPoint("scaling", OURS, METHOD_FUNCTIONS.group)])
    monkeypatch.setattr(extensions, "entry_points", known.select)
    model = METHODS["custom"].adapt(load_model(base_dir, FP32), spec("scaling"))
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == rows.LAYERS * rows.WIDTH
    with pytest.raises(ConfigError, match=r"'scalin' is not in the group 'luthier\.methods'"):
        METHODS["custom"].adapt(load_model(base_dir, FP32), spec("scalin"))


@pytest.mark.parametrize(
    ("entry_point", "reason"),
    [
        ("no_such_package:function", "cannot be loaded on this worker: ModuleNotFoundError: No module named"),
        ("half_written:function", "'half_written:function' cannot be loaded on this worker: SyntaxError: "),
        ("half_done:train_nothing", "'half_done:train_nothing' leaves no parameter with requires_grad; set it on"),
        ("half_done:take_wrong_part", "raised AttributeError: .* no attribute 'decoder'; mend the function"),
        ("half_done:NUMBER", "raised TypeError: 'int' object is not callable; mend the function"),
        (f"{rows.__name__}:no_such_function", "cannot be loaded on this worker: .* has no attribute"),
        ("builtins:print", "returned a NoneType; it must return the model"),
    ],
)
def test_what_is_no_method_is_refused(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_point: str, reason: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_written.py").write_text("def function(model, options)\n")
    (tmp_path / "half_done.py").write_text(
        "NUMBER = 1\n"
        "def train_nothing(model, options):\n    return model.requires_grad_(False)\n"
        "def take_wrong_part(model, options):\n    return model.decoder\n"
    )
    with pytest.raises(ConfigError, match=reason):
        METHODS["custom"].adapt(load_model(base_dir, FP32), spec(entry_point))


def test_the_function_of_the_page_is_one(base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "my_adapters.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    model = METHODS["custom"].adapt(load_model(base_dir, torch.bfloat16), spec("my_adapters:scale_outputs"))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert sum(weight.numel() for weight in trained) == rows.LAYERS * rows.WIDTH
    assert {weight.dtype for weight in trained} == {FP32}


def test_another_version_of_the_function_is_noticed(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS["custom"]
    method.save(method.adapt(load_model(base_dir, FP32), spec(OURS)), base_dir, tmp_path)
    monkeypatch.setattr(rows, "scale_feed_forward", lambda model, _: model.requires_grad_(True))
    with pytest.raises(ConfigError, match="leaves other parameters to train than it did in training"):
        load_tuned(base_dir, tmp_path, FP32, OURS)


@pytest.mark.parametrize("entry_point", ["", "a b", "a:", ":b", "a:b:c", "../x:y"])
def test_what_is_no_name_is_refused_in_the_job_file(entry_point: str) -> None:
    with pytest.raises(ValueError, match="entry_point"):
        spec(entry_point)
