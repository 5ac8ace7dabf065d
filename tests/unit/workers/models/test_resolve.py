"""A name of a job file becomes a folder, or an error that says what would be accepted."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from luthier.artifacts import seal
from luthier.settings import WorkerSettings
from tests.bit_flip import files_of, flipped
from workers.failures import ConfigError, DependencyError
from workers.models import catalogue, load_model, load_tokenizer, resolve, resolve_base_model
from workers.models.catalogue import CATALOGUE, CatalogueEntry, WheelSource

NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture
def model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "data" / "model"))


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(data_roots=str(tmp_path / "data"), model_cache=tmp_path / "cache", hub_url=NOBODY_LISTENS)


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_directory_is_used_where_it_lies_and_loads(model_dir: Path, settings: WorkerSettings) -> None:
    folder = resolve_base_model(str(model_dir), settings)
    assert folder == model_dir
    tokenizer, model = load_tokenizer(folder), load_model(folder, torch.float32)
    assert model.dtype == torch.float32
    assert not model.training
    logits = model(torch.tensor([tokenizer.encode("hello world")])).logits
    assert logits.shape[-1] == len(tokenizer)


def test_a_directory_outside_the_data_roots_is_refused(tiny_model_dir: Path, settings: WorkerSettings) -> None:
    with pytest.raises(ConfigError, match="LUTHIER_DATA_ROOTS"):
        resolve_base_model(str(tiny_model_dir), settings)


def test_a_link_out_of_the_data_roots_is_refused(tiny_model_dir: Path, settings: WorkerSettings) -> None:
    link = Path(settings.data_roots) / "link"
    link.parent.mkdir()
    link.symlink_to(tiny_model_dir)
    with pytest.raises(ConfigError, match="LUTHIER_DATA_ROOTS"):
        resolve_base_model(str(link), settings)


def test_a_missing_directory_is_named(settings: WorkerSettings) -> None:
    with pytest.raises(ConfigError, match="is not a directory"):
        resolve_base_model(f"{settings.data_roots}/nothing", settings)


@pytest.mark.parametrize(
    ("lost", "complaint"),
    [("config.json", "config.json"), ("tokenizer.json", "no tokenizer"), ("model.safetensors", "no \\*.safetensors")],
)
def test_an_incomplete_folder_is_refused(model_dir: Path, settings: WorkerSettings, lost: str, complaint: str) -> None:
    (model_dir / lost).unlink()
    with pytest.raises(ConfigError, match=complaint):
        resolve_base_model(str(model_dir), settings)


def test_pickle_weights_alone_are_refused_with_the_remedy(model_dir: Path, settings: WorkerSettings) -> None:
    (model_dir / "model.safetensors").rename(model_dir / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin.*save_pretrained"):
        resolve_base_model(str(model_dir), settings)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused(model_dir: Path, settings: WorkerSettings, file: str) -> None:
    _edit(model_dir / file, auto_map={"AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(ConfigError, match="never run here"):
        resolve_base_model(str(model_dir), settings)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, r"\(model_type 'bert'\) is no causal .* give another"),
        (
            {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
            r"\(BertForMaskedLM\) has an encoder, .*give an",
        ),
        ({"model_type": "t5", "is_encoder_decoder": True}, "has an encoder, which reads in both directions"),
        ({"model_type": "vit"}, r"\(model_type 'vit'\) is no causal language model that transformers knows"),
        ({"quantization_config": {"quant_method": "awq"}}, r"quantised already \(awq\).*with method\.type: qlora"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(
    model_dir: Path, settings: WorkerSettings, config: dict[str, object], words: str
) -> None:
    _edit(model_dir / "config.json", **config)
    with pytest.raises(ConfigError, match=words):
        resolve_base_model(str(model_dir), settings)


def test_a_missing_shard_is_named(model_dir: Path, settings: WorkerSettings) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="model-00002-of-00002"):
        resolve_base_model(str(model_dir), settings)


def test_an_unknown_name_gets_a_suggestion_and_the_accepted_forms(settings: WorkerSettings) -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'smollm2-135m-instruct'\?.*directory.*org/name"):
        resolve_base_model("smollm-135m-instruct", settings)


@pytest.mark.parametrize("name", ["../etc/passwd", "a/b/c", "org/../name", "s3://bucket/model", "org/name@"])
def test_what_is_neither_name_nor_id_nor_directory_is_refused(name: str, settings: WorkerSettings) -> None:
    with pytest.raises(ConfigError, match="unknown base_model"):
        resolve_base_model(name, settings)


def test_a_hub_that_cannot_be_reached_is_a_config_error(settings: WorkerSettings) -> None:
    with pytest.raises(ConfigError, match="LUTHIER_HUB_URL"):
        resolve_base_model("org/model", settings)


def _local_hub(tiny_model_dir: Path, tmp_path: Path, name: str) -> WorkerSettings:
    target = Path(shutil.copytree(tiny_model_dir, tmp_path / "hub" / name))
    (target / "pytorch_model.bin").write_bytes(b"pickle")
    (target / "modeling_evil.py").write_text("raise SystemExit")
    return WorkerSettings(model_cache=tmp_path / "cache", hub_url=str(tmp_path / "hub"))


def test_a_hub_directory_is_copied_without_pickles_and_code(tiny_model_dir: Path, tmp_path: Path) -> None:
    settings = _local_hub(tiny_model_dir, tmp_path, "org/model")
    folder = resolve_base_model("org/model", settings)
    assert folder.is_relative_to(settings.model_cache_path)
    assert not {"pytorch_model.bin", "modeling_evil.py"} & {path.name for path in folder.iterdir()}
    load_model(folder, torch.bfloat16)
    assert resolve_base_model("org/model", settings) == folder


def test_a_hub_directory_that_changed_is_copied_again(tiny_model_dir: Path, tmp_path: Path) -> None:
    settings = _local_hub(tiny_model_dir, tmp_path, "org/model")
    before = resolve_base_model("org/model", settings)
    _edit(tmp_path / "hub/org/model/config.json", note="new")
    after = resolve_base_model("org/model", settings)
    assert after != before
    assert json.loads((after / "config.json").read_text())["note"] == "new"


def test_a_hub_directory_has_no_revisions_and_names_what_it_lacks(tiny_model_dir: Path, tmp_path: Path) -> None:
    settings = _local_hub(tiny_model_dir, tmp_path, "org/model")
    with pytest.raises(ConfigError, match="no revisions"):
        resolve_base_model("org/model@v1", settings)
    with pytest.raises(ConfigError, match="org/other"):
        resolve_base_model("org/other", settings)


def _entry(requirement: str) -> CatalogueEntry:
    wheel = WheelSource(requirement=requirement, member="pkg/model.gguf", sha256="0" * 64)
    return CatalogueEntry("MIT", 1, 1, hub_id="org/model", sources=("cache", "hub", "wheel"), wheel=wheel)


def test_a_catalogue_model_comes_from_the_cache_before_anything_else(
    tiny_model_dir: Path, settings: WorkerSettings
) -> None:
    cached = Path(shutil.copytree(tiny_model_dir, settings.model_cache_path / "catalogue/smollm2-135m-instruct"))
    seal(cached)
    assert resolve_base_model("smollm2-135m-instruct", settings) == cached


def test_a_catalogue_model_comes_from_the_hub_when_that_has_it(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", _entry("never-asked-for==1"))
    settings = _local_hub(tiny_model_dir, tmp_path, "org/model")
    assert (resolve_base_model("tiny", settings) / "model.safetensors").is_file()


def test_a_catalogue_model_falls_back_to_the_wheel_and_is_kept(
    tiny_model_dir: Path, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[WheelSource] = []

    def build(source: WheelSource, into: Path) -> None:
        asked.append(source)
        shutil.copytree(tiny_model_dir, into, dirs_exist_ok=True)

    monkeypatch.setitem(CATALOGUE, "tiny", _entry("some-wheel==1"))
    monkeypatch.setattr(resolve, "build_from_wheel", build)
    first = resolve_base_model("tiny", settings)
    assert resolve_base_model("tiny", settings) == first
    assert [source.requirement for source in asked] == ["some-wheel==1"]


def test_a_cached_model_that_is_damaged_is_never_used(
    tiny_model_dir: Path, settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", _entry(str(tmp_path / "missing-1-py3-none-any.whl")))
    folder = Path(shutil.copytree(tiny_model_dir, settings.model_cache_path / "catalogue/tiny"))
    seal(folder)
    for path in files_of(folder):
        with flipped(path), pytest.raises(DependencyError, match=f"cache: {re.escape(str(path))} .*wheel: "):
            resolve_base_model("tiny", settings)
    assert resolve_base_model("tiny", settings) == folder


def test_when_no_source_answers_all_are_named(
    settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "tiny", _entry(str(tmp_path / "missing-1-py3-none-any.whl")))
    with pytest.raises(DependencyError, match=r"hub: .*wheel: "):
        resolve_base_model("tiny", settings)
    assert not (settings.model_cache_path / "catalogue/tiny").exists()


def test_every_row_of_the_catalogue_is_complete() -> None:
    for name, entry in catalogue.CATALOGUE.items():
        assert name == name.lower()
        assert entry.licence
        assert entry.num_bytes > 0
        assert ("wheel" in entry.sources) == (entry.wheel is not None)
        assert entry.wheel is None or len(entry.wheel.sha256) == 64
