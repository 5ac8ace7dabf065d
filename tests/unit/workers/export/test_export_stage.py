"""What the stage publishes loads in plain PEFT and plain transformers, and answers as the trained model does."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.v1.stage_pb2 import StageOutputs
from workers.export import stage, triton_backend
from workers.export.stage import run, triton_model_name
from workers.failures import ConfigError, DivergedError, PreemptedError
from workers.task import Task

ESTIMATE = {"value": 0.5, "low": 0.25, "high": 0.75}
OUTPUTS = {
    "evaluate": StageOutputs(
        result_json=json.dumps(
            {
                "split": "test",
                "num_rows": 4,
                "confidence_level": 0.95,
                "metrics": {
                    "exact_match": {
                        "base": ESTIMATE,
                        "tuned": ESTIMATE,
                        "difference": ESTIMATE,
                        "p_value": 0.0625,
                        "higher_is_better": True,
                    }
                },
            }
        )
    )
}


@pytest.fixture
def export_task(tuned_task: Callable[..., Task]) -> Callable[..., Task]:
    """A function that makes the task of an export; keywords are those of the `export` section."""

    def make(
        *, test: tuple[str, ...] | None = ("red", "green", "yellow", "blue"), method: str = "lora", **section: object
    ) -> Task:
        return tuned_task("export", test=test, outputs=OUTPUTS, method={"type": method}, export=section)

    return make


def _ask(model: object, tokenizer: object, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    answer = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return tokenizer.decode(answer, skip_special_tokens=True)


def test_the_chat_template_of_the_job_is_exported_and_served(
    tuned_task: Callable[..., Task], quiet_report, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role | upper }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{{ '<|im_start|>ASSISTANT\n' if add_generation_prompt }}"
    )
    data = {"path": "/data.jsonl", "chat_template": template}
    task = tuned_task("export", test=("red",), outputs=OUTPUTS, data=data)
    folder = run(
        replace(task, settings=task.settings.model_copy(update={"model_cache": tmp_path})), quiet_report
    ).folder
    for saved in ("peft", "merged", next((folder / "triton").iterdir()).relative_to(folder) / "1" / "weights"):
        assert AutoTokenizer.from_pretrained(folder / saved).chat_template == template


def test_every_format_loads_by_its_own_library_and_knows_the_answers(
    export_task: Callable[..., Task], quiet_report, teachable_model_dir: Path
) -> None:
    result = run(export_task(), quiet_report)
    folder = result.folder
    tokenizer = AutoTokenizer.from_pretrained(folder / "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype="auto")
    assert merged.dtype == torch.bfloat16
    assert _ask(merged, tokenizer, "yellow") == '{"wait": 1}'
    assert (folder / "merged/generation_config.json").is_file()
    base = AutoModelForCausalLM.from_pretrained(teachable_model_dir, dtype=torch.float32)
    assert _ask(base, tokenizer, "yellow") != '{"wait": 1}'
    assert _ask(PeftModel.from_pretrained(base, folder / "peft"), tokenizer, "yellow") == '{"wait": 1}'
    version = folder / "triton/lights-89abcdef/1"
    code = {path.name for path in Path(triton_backend.__file__).parent.glob("*.py")} - {"__init__.py"}
    assert {path.name for path in version.iterdir()} == code | {"tools.json", "weights"}
    assert _digest(version / "weights/model.safetensors") == _digest(folder / "merged/model.safetensors")


def test_a_whole_model_is_exported_as_it_is(export_task: Callable[..., Task], quiet_report) -> None:
    result = run(export_task(method="full"), quiet_report)
    folder = result.folder
    assert result.result["formats"] == ["merged", "triton"]
    assert {path.name for path in folder.iterdir()} == {"merged", "triton", "README.md", "parity.json"}
    assert result.metrics["greedy_agreement"] == 1.0
    tokenizer = AutoTokenizer.from_pretrained(folder / "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype="auto")
    assert merged.dtype == torch.bfloat16
    assert _ask(merged, tokenizer, "yellow") == '{"wait": 1}'
    card = (folder / "README.md").read_text()
    assert "fine-tuned on 4 examples (full fine-tuning)" in card
    assert 'tags: ["full-fine-tuning", "luthier"]' in card
    assert "lora" not in card.lower()
    assert "peft" not in card.lower()


def test_a_whole_model_that_is_not_finite_is_refused(
    export_task: Callable[..., Task], quiet_report, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = stage.merge

    def poisoned(tuned: torch.nn.Module) -> object:
        next(tuned.parameters()).data[0, 0] = float("nan")
        return honest(tuned)

    monkeypatch.setattr(stage, "merge", poisoned)
    with pytest.raises(DivergedError, match=r"embed_tokens\.weight is not finite"):
        run(export_task(method="full"), quiet_report)


def test_the_proof_is_recorded_prompt_by_prompt(export_task: Callable[..., Task], quiet_report) -> None:
    result = run(export_task(parity={"num_prompts": 3}), quiet_report)
    parity = json.loads((result.folder / "parity.json").read_text())
    assert parity == json.loads(json.dumps(result.result["parity"]))
    assert parity["subject"] == "triton"
    assert parity["greedy_agreement"] == result.metrics["greedy_agreement"] == 1.0
    assert [row["row"] for row in parity["prompts"]] == [1, 2, 3]
    assert all(row["rendered_equal"] and row["num_agreeing"] == row["num_tokens"] > 1 for row in parity["prompts"])
    assert 0 < parity["max_logit_difference"] < 1.0


def test_float32_changes_next_to_nothing(export_task: Callable[..., Task], quiet_report) -> None:
    result = run(export_task(dtype="float32"), quiet_report)
    assert {w.dtype for w in load_file(result.folder / "merged/model.safetensors").values()} == {torch.float32}
    assert result.metrics["max_logit_difference"] < 1e-3


@pytest.mark.parametrize(
    ("formats", "subject"), [(["peft"], "peft"), (["merged"], "merged"), (["peft", "merged"], "merged")]
)
def test_only_what_was_asked_for_is_written(
    export_task: Callable[..., Task], quiet_report, formats: list[str], subject: str
) -> None:
    result = run(export_task(formats=formats), quiet_report)
    assert {path.name for path in result.folder.iterdir()} == {*formats, "README.md", "parity.json"}
    assert result.result["formats"] == formats
    assert result.result["triton_model"] == ""
    assert result.result["parity"]["subject"] == subject


def test_nothing_exported_names_a_path_of_this_machine(
    export_task: Callable[..., Task], quiet_report, teachable_model_dir: Path
) -> None:
    result = run(export_task(), quiet_report)
    for path in result.folder.rglob("*"):
        if path.is_file():
            assert str(teachable_model_dir.parent).encode() not in path.read_bytes(), path


def test_a_corrupted_merge_is_caught(
    export_task: Callable[..., Task], quiet_report, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = stage.save_model

    def corrupt(merged: object, tokenizer: object, out: Path, dtype: torch.dtype) -> None:
        honest(merged, tokenizer, out, dtype)
        weights = load_file(out / "model.safetensors")
        weights["model.layers.1.self_attn.v_proj.weight"].neg_()
        save_file(weights, out / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(stage, "save_model", corrupt)
    with pytest.raises(ConfigError, match=r"below export\.parity\.min_greedy_agreement.*dtype: float32"):
        run(export_task(), quiet_report)


def test_a_forgotten_adapter_is_caught(
    export_task: Callable[..., Task], quiet_report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "merge", lambda tuned: tuned.unload())
    with pytest.raises(ConfigError, match="agrees with the trained one on 0"):
        run(export_task(), quiet_report)


def test_a_changed_template_is_caught(
    export_task: Callable[..., Task], quiet_report, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = stage.save_model

    def forget_the_roles(merged: object, tokenizer: object, out: Path, dtype: torch.dtype) -> None:
        tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        honest(merged, tokenizer, out, dtype)

    monkeypatch.setattr(stage, "save_model", forget_the_roles)
    with pytest.raises(ConfigError, match=r"lights\.jsonl, row 1, to other token ids"):
        run(export_task(), quiet_report)


def test_an_adapter_that_is_not_finite_is_refused(
    export_task: Callable[..., Task], quiet_report, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = stage.merge

    def poisoned(tuned: PeftModel) -> object:
        next(weight for name, weight in tuned.named_parameters() if "lora_A" in name).data.fill_(float("inf"))
        return honest(tuned)

    monkeypatch.setattr(stage, "merge", poisoned)
    with pytest.raises(DivergedError, match="cannot be merged"):
        run(export_task(), quiet_report)


def test_rows_of_plain_text_are_proved_too(export_task: Callable[..., Task], quiet_report) -> None:
    result = run(export_task(test=None), quiet_report)
    assert result.result["parity"]["prompts"][0]["rendered_equal"]


def test_the_card_says_what_is_known(export_task: Callable[..., Task], quiet_report) -> None:
    result = run(export_task(), quiet_report)
    text = (result.folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    fields = YAML(typ="safe").load(front)
    assert fields["pipeline_tag"] == "text-generation"
    assert "base_model" not in fields, "a directory is no hub id"
    assert "| Exact match ↑ | 0.5 [0.25, 0.75] |" in body
    assert "4 of 4 greedy answers are identical" in body
    assert "--load-model=lights-89abcdef" in body
    assert "| learning rate | 0.0002, cosine |" in body


def test_a_draining_worker_stops_the_stage(export_task: Callable[..., Task], quiet_report) -> None:
    quiet_report.stop = True
    with pytest.raises(PreemptedError):
        run(export_task(), quiet_report)


def test_the_name_in_triton_is_an_id_of_the_jobs_own() -> None:
    assert triton_model_name("My_Model", "job_06BQ3K12345678") == "my_model-12345678"
    assert len(triton_model_name("a" * 64, "job_06bq3k12345678")) == 64


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
