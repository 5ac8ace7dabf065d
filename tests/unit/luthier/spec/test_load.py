"""The job file: every fault is named with its place, the reason and what was probably meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import (
    FullSpec,
    JobSpec,
    LoraSpec,
    TrainingSpec,
    canonical_json,
    json_schema,
    load_job_file,
    parse_spec,
)

MINIMAL = {"name": "tickets", "base_model": "smollm2-135m-instruct", "data": {"path": "train.jsonl"}}


def _with(**changes: Any) -> str:
    return json.dumps({**MINIMAL, **changes})


def test_a_minimal_job_gets_every_default() -> None:
    spec = parse_spec(_with())
    assert spec.method.r == 16
    assert spec.training.lr_scheduler_type == "cosine"
    assert spec.export.formats == ["peft", "merged", "triton"]
    assert spec.deploy is None


def test_full_fine_tuning_has_defaults_of_its_own() -> None:
    spec = parse_spec(_with(method={"type": "full"}))
    assert spec.method == FullSpec(type="full")
    assert spec.training.learning_rate == pytest.approx(2e-5)
    assert spec.export.formats == ["merged", "triton"]
    chosen = parse_spec(
        _with(method={"type": "full"}, training={"learning_rate": 2e-4}, export={"formats": ["merged"]})
    )
    assert chosen.training.learning_rate == pytest.approx(2e-4)
    assert chosen.export.formats == ["merged"]


def test_a_job_file_that_names_no_method_means_lora() -> None:
    assert parse_spec(_with(method={"r": 4})).method == LoraSpec(r=4)
    assert LoraSpec.default_learning_rate == TrainingSpec().learning_rate


def test_yaml_is_read_as_version_1_2() -> None:
    spec = parse_spec("name: no\nbase_model: m\ndata: {path: x}\ntraining: {learning_rate: 1e-4, packing: false}\n")
    assert spec.name == "no"
    assert spec.training.learning_rate == pytest.approx(1e-4)
    assert spec.training.packing is False


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"training": {"learning_rte": 1e-4}}, "training.learning_rte", "Did you mean 'learning_rate'?"),
        ({"trainig": {}}, "trainig", "Did you mean 'training'?"),
        ({"deploy": {"nmae": "x"}}, "deploy.nmae", "Did you mean 'name'?"),
        ({"export": {"parity": {"prompts": 3}}}, "export.parity.prompts", "num_prompts"),
        ({"evaluation": {"gate": {"exact_match": {"minimum": 0.5}}}}, "evaluation.gate.exact_match.minimum", "'min'"),
        ({"method": {"zzz": 1}}, "method.zzz", "Known keys: "),
        ({"method": {"lora_alhpa": 1}}, "method.lora_alhpa", "Did you mean 'lora_alpha'?"),
        ({"method": {"type": "ful"}}, "method.type", "Did you mean 'full'?"),
        ({"method": {"type": "qqq"}}, "method.type", "Known values: lora, "),
        ({"method": {"type": "full", "r": 8}}, "method.r", "It belongs to type: lora; leave it out"),
        ({"method": {"type": "full", "zzz": 8}}, "method.zzz", "Known keys: added_tokens, type."),
        ({"method": {"r": "x"}}, "method.r", "valid integer (got 'x')"),
        ({"method": "full"}, "method", "object (got 'full')"),
        (
            {"method": {"type": "full"}, "export": {"formats": ["peft"]}},
            "export",
            "makes no adapter that PEFT knows; leave 'peft' out",
        ),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate", "valid number (got 'fast')"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate", "greater than 0"),
        ({"training": {"max_steps": 1.5}}, "training.max_steps", "valid integer"),
        ({"training": {"packing": "yes"}}, "training.packing", "valid boolean"),
        ({"data": {}}, "data", "give path or sources"),
        ({"data": {"path": "x", "format": "csv"}}, "data.format", "'chat'"),
        ({"name": "../x"}, "name", "pattern"),
        ({"data": {"path": "x", "max_length": 2048}}, "", "smaller than data.max_length"),
        ({"data": {"path": "x", "test_fraction": 0.6, "validation_fraction": 0.6}}, "data", "nothing to train on"),
        ({"export": {"formats": ["peft"]}, "deploy": {}}, "", "deploy needs 'triton'"),
        ({"evaluation": {"gate": {"json_valid": {"min": 1}}}}, "", "does not measure"),
    ],
)
def test_a_fault_is_named(changes: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(_with(**changes))
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in str(problem)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(_with(training={"learning_rate": 7, "seeed": 1}, name=""))
    assert {problem.path for problem in caught.value.problems} == {"name", "training.learning_rate", "training.seeed"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a mapping"),
        ("- a\n- b", "must be a mapping"),
        ("name: [", "not YAML: line 1"),
        ("name: a\nname: b", "duplicate key"),
        ("x: !!python/object/apply:os.system ['true']", "not YAML"),
        ("#" * (1 << 20) + "#", "larger than 1 MiB"),
    ],
)
def test_what_is_no_job_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidSpecError, match=words):
        parse_spec(text)


@pytest.mark.parametrize("method", [{"r": 8}, {"type": "full"}])
def test_the_resolved_form_is_canonical_and_loads_again(method: dict[str, Any]) -> None:
    spec = parse_spec(_with(method=method, deploy={}, evaluation={"gate": {"exact_match": {"min": 0.5}}}))
    text = canonical_json(spec)
    assert parse_spec(text) == spec
    assert canonical_json(parse_spec(text)) == text
    assert ('"lora_alpha":32.0' in text) == ("r" in method)


def test_relative_paths_are_relative_to_the_job_file(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("name: a\nbase_model: ./model\ndata: {path: train.jsonl, test_path: s3://bucket/test.jsonl}\n")
    spec = load_job_file(job)
    assert spec.base_model == str(tmp_path / "model")
    assert spec.data.path == str(tmp_path / "train.jsonl")
    assert spec.data.test_path == "s3://bucket/test.jsonl"
    assert spec.data.validation_path is None


def test_a_hub_id_is_no_path(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("name: a\nbase_model: org/model@main\ndata: {path: train.jsonl}\n")
    assert load_job_file(job).base_model == "org/model@main"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot read"), (b"name: \xff", "not UTF-8")], ids=["missing", "bytes"]
)
def test_an_unreadable_job_file_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    job = tmp_path / "job.yaml"
    if content is not None:
        job.write_bytes(content)
    with pytest.raises(InvalidSpecError, match=words):
        load_job_file(job)


def test_every_field_of_the_schema_is_documented() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    undocumented = [
        f"{section['title']}.{name}"
        for section in sections
        for name, field in section.get("properties", {}).items()
        if "description" not in field
    ]
    assert undocumented == []
    assert schema["additionalProperties"] is False


def test_a_spec_cannot_be_changed() -> None:
    spec = JobSpec.model_validate_json(_with())
    with pytest.raises(ValueError, match="frozen"):
        spec.name = "other"
