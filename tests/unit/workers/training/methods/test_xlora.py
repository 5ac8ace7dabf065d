"""What is special about a mixture of LoRA adapters: what is mixed, with which caches, from where, and what is saved."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from luthier.artifacts import publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec, XloraSpec, resolve_paths
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from tests.unit.workers.training.methods.rows import LINEAR, ROWS, Row
from tests.unit.workers.training.methods.trained import adapt, logits_in_training, logits_of, plain_model
from tests.unit.workers.training.tiny_run import make_base, make_documents, weights
from workers.evaluation import stage as evaluation
from workers.evaluation.generate import Decoding, greedy_answers
from workers.export import stage as export
from workers.export.peft import write_peft
from workers.failures import ConfigError
from workers.models import load_model
from workers.models.mixture import config_of, mixed_layers
from workers.models.tuned import ADAPTER, load_tuned
from workers.task import StageResult, Task
from workers.training import stage as training
from workers.training.forward import target_logits
from workers.training.methods.xlora import add_xlora, locate_experts, save_xlora
from workers.training.packing import make_batch
from workers.training.recompute import recompute_activations

SECTION = {"type": "xlora", "experts": ["expert-0", "expert-1"]}
JOB = {"name": "job", "base_model": "org/base", "data": {"path": "/data"}}


def mixture(base: Path, **fields: Any) -> PeftModel:
    """A fresh one whose network says something, in evaluation mode."""
    model = adapt(Row({**SECTION, **fields}, 0), base).eval()
    torch.manual_seed(1)
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.3)
    return model


def saved(model: PeftModel, base: Path, folder: Path) -> Path:
    folder.mkdir()
    save_xlora(model, base, folder)
    return folder


@pytest.mark.parametrize("number", [0, 1])
def test_what_counts_alone_is_that_adapter(base_dir: Path, number: int) -> None:
    model = mixture(base_dir)
    network = model.base_model.internal_xlora_classifier.layers[-1]
    with torch.no_grad():
        network.weight.zero_()
        network.bias.view(-1, 2)[:, number] = 100.0
        network.bias.view(-1, 2)[:, 1 - number] = -100.0
    alone = PeftModel.from_pretrained(load_model(base_dir, torch.float32), str(base_dir.parent / f"expert-{number}"))
    assert logits_in_training(model) == pytest.approx(logits_of(alone.eval()), abs=1e-4)


def test_without_adapters_it_is_the_base_model(base_dir: Path) -> None:
    model = mixture(base_dir)
    base = logits_of(load_model(base_dir, torch.float32))
    assert logits_in_training(model) != pytest.approx(base, abs=0.1)
    with model.disable_adapter():
        assert logits_in_training(model) == pytest.approx(base, abs=1e-5)


def test_a_cache_changes_nothing(tmp_path: Path, base_dir: Path) -> None:
    """Plain PEFT generates without one."""
    folder = saved(mixture(base_dir, top_k_lora=1), base_dir, tmp_path / "artifact")
    prompts = [[3, 4, 5, 6, 7], [20, 21], [9, 40, 11]]
    answers = greedy_answers(
        load_tuned(base_dir, folder, torch.float32), prompts, Decoding(frozenset(), 0, 6), lambda _: None
    )
    plain = plain_model(base_dir, folder)
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([prompt])
        for _ in answer:
            with torch.no_grad():
                ids = torch.cat([ids, plain(input_ids=ids).logits[:, -1].argmax(-1)[None]], dim=1)
        assert ids[0, len(prompt) :].tolist() == answer


def test_activations_that_are_computed_again_are_mixed_in_the_same_way(base_dir: Path) -> None:
    gradients = []
    for how in ("none", "full"):
        model = mixture(base_dir, use_trainable_adapters=True).train()
        recompute_activations(model, how)
        batch = make_batch(make_documents(5))
        torch.nn.functional.cross_entropy(target_logits(model, batch, torch.float32), batch.targets).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradients[1][name] == pytest.approx(gradient, abs=1e-7), name


def test_frozen_adapters_are_saved_as_they_were_and_no_path_with_them(tmp_path: Path, base_dir: Path) -> None:
    folder = saved(mixture(base_dir), base_dir, tmp_path / "artifact") / ADAPTER
    for number in (0, 1):
        given = base_dir.parent / f"expert-{number}"
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            assert (folder / str(number) / file).read_bytes() == (given / file).read_bytes()
    assert "expert" not in (folder / "adapter_config.json").read_text()
    write_peft(folder, tmp_path / "peft", "org/base")
    for config in tmp_path.joinpath("peft").glob("**/adapter_config.json"):
        assert json.loads(config.read_text())["base_model_name_or_path"] == "org/base"
    assert len([*tmp_path.joinpath("peft").glob("*/adapter_model.safetensors")]) == 2


def test_adapters_that_were_trained_are_saved_as_they_are(tmp_path: Path, base_dir: Path) -> None:
    folder = saved(mixture(base_dir, use_trainable_adapters=True), base_dir, tmp_path / "artifact") / ADAPTER
    given = load_file(base_dir.parent / "expert-1" / "adapter_model.safetensors")
    kept = load_file(folder / "1" / "adapter_model.safetensors")
    assert given.keys() == kept.keys()
    assert not any(torch.equal(given[name], tensor) for name, tensor in kept.items())


def test_frozen_adapters_have_the_compute_dtype_and_the_network_fp32(base_dir: Path) -> None:
    model = adapt(ROWS["xlora"], base_dir, torch.bfloat16)
    assert {weight.dtype for weight in weights(model).values()} == {torch.float32}
    frozen = {weight.dtype for weight in model.parameters() if not weight.requires_grad}
    assert frozen == {torch.bfloat16}
    assert len([*mixed_layers(model)]) == 2 * len(LINEAR)
    assert [*config_of(model).adapters] == ["0", "1"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"experts": ["one"]}, "at least 2"),
        ({"experts": ["one", "two", "one"]}, "'one' twice"),
        ({"top_k_lora": 2}, r"top_k_lora \(2\) leaves none of the 2 experts out"),
        ({"softmax_temperature": 0.0}, "greater than 0"),
    ],
)
def test_what_mixes_nothing_is_refused_in_the_job_file(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        XloraSpec.model_validate({**SECTION, **fields})


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"export": {"formats": ["merged"]}}, "method.type xlora cannot be merged into a plain model"),
        ({"deploy": {}}, "method.type xlora cannot be merged into a plain model, so leave deploy out"),
        ({"objective": {"type": "reward"}}, "a head, which the adapter of method.type xlora cannot carry"),
        ({"resources": {"distributed": {"type": "zero"}}}, "method.type xlora does not allow"),
    ],
)
def test_what_a_mixture_cannot_be_is_refused_in_the_job_file(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        JobSpec.model_validate({**JOB, "method": SECTION, **sections})


def test_relative_paths_are_relative_to_the_job_file() -> None:
    spec = JobSpec.model_validate({**JOB, "method": {**SECTION, "experts": ["one", "s3://bucket/two", "/three"]}})
    assert spec.export.formats == ["peft"]
    method = resolve_paths(spec, Path("/jobs")).method
    assert isinstance(method, XloraSpec)
    assert method.experts == ["/jobs/one", "s3://bucket/two", "/three"]


def task_of(folder: Path, base_model: str, *experts: Path) -> Task:
    method = {**SECTION, "experts": [str(expert) for expert in experts]}
    spec = JobSpec.model_validate({**JOB, "base_model": base_model, "method": method})
    return Task(StageAssignment(), spec, WorkerSettings(data_roots=str(folder)), folder / "work")


def located(task: Task, base: Path) -> XloraSpec:
    assert isinstance(task.spec.method, XloraSpec)
    return locate_experts(task.spec.method, task, base)


def test_experts_are_found_where_jobs_leave_them(tmp_path: Path, base_dir: Path) -> None:
    shutil.copytree(base_dir.parent / "expert-0", tmp_path / "artifact" / ADAPTER)
    shutil.copytree(base_dir.parent / "expert-1", tmp_path / "export" / "peft")
    task = task_of(tmp_path, str(base_dir), tmp_path / "artifact", tmp_path / "export")
    assert located(task, base_dir).experts == [
        str(tmp_path / "artifact" / ADAPTER),
        str(tmp_path / "export" / "peft"),
    ]


def test_experts_from_elsewhere_or_of_another_kind_are_refused(tmp_path: Path, base_dir: Path) -> None:
    one, two = (Path(shutil.copytree(base_dir.parent / f"expert-{n}", tmp_path / f"{n}")) for n in (0, 1))
    with pytest.raises(ConfigError, match=r"method\.experts\.1 .*expert-1' is outside the places"):
        located(task_of(tmp_path, str(base_dir), one, base_dir.parent / "expert-1"), base_dir)
    config = json.loads((two / "adapter_config.json").read_text())
    for change, words in (
        ({"peft_type": "IA3"}, f"adapter {two} is of the kind IA3; only LoRA"),
        ({"base_model_name_or_path": "org/other"}, f"adapter {two} is of the base model 'org/other'"),
    ):
        (two / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ConfigError, match=words):
            located(task_of(tmp_path, str(base_dir), one, two), base_dir)
    (two / "adapter_config.json").unlink()
    with pytest.raises(ConfigError, match=r"method\.experts\.1 .* holds no adapter"):
        located(task_of(tmp_path, str(base_dir), one, two), base_dir)


def test_an_expert_that_does_not_fit_is_refused_by_name(tmp_path: Path, base_dir: Path) -> None:
    one, two = (Path(shutil.copytree(base_dir.parent / f"expert-{n}", tmp_path / f"{n}")) for n in (0, 1))
    spec = XloraSpec.model_validate({**SECTION, "experts": [str(one), str(two)]})
    decomposed = get_peft_model(make_base(), LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    decomposed.save_pretrained(tmp_path / "dora")
    with pytest.raises(ConfigError, match=r"adapter .*dora is weight-decomposed \(DoRA\), which PEFT does not mix"):
        add_xlora(make_base(), spec.model_copy(update={"experts": [str(one), str(tmp_path / "dora")]}))
    tensors = load_file(two / "adapter_model.safetensors")
    save_file(
        {name: torch.ones(tensor.shape[0], 7) for name, tensor in tensors.items()}, two / "adapter_model.safetensors"
    )
    with pytest.raises(ConfigError, match=rf"adapter {two} changes .* as one of (32|48) x 7, and it is"):
        add_xlora(make_base(), spec)


def test_a_model_whose_layers_peft_does_not_find_is_refused(tmp_path: Path) -> None:
    gpt = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=32, n_positions=16))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        get_peft_model(gpt, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)).save_pretrained(folder)
        gpt = GPT2LMHeadModel(gpt.config)
    spec = XloraSpec.model_validate({**SECTION, "experts": [str(folder) for folder in folders]})
    with pytest.raises(ConfigError, match=r"PEFT cannot mix adapters in base_model \(GPT2LMHeadModel\)"):
        add_xlora(gpt, spec)


def left_by(result: StageResult, place: Path) -> StageOutputs:
    assert result.folder is not None
    ref = publish(result.folder, str(place))
    artifact = Artifact(uri=ref.uri, digest=ref.digest)
    return StageOutputs(artifact=artifact, result_json=json.dumps(result.result), metrics=result.metrics)


def test_a_mixture_goes_through_all_stages(
    tuned_task: Callable[..., Task], quiet_report: Any, adapter_dir: Path, teachable_model_dir: Path, tmp_path: Path
) -> None:
    """Of two equal adapters every mixture is what one of them is, which knows the answers."""
    root = teachable_model_dir.parent / tmp_path.name
    for name in ("one", "two"):
        shutil.copytree(adapter_dir, root / name)
    job = {
        "method": {"type": "xlora", "experts": [str(root / "one"), str(root / "two")]},
        "training": {"max_steps": 2, "precision": "fp32", "learning_rate": 1e-3},
        "evaluation": {"metrics": ["exact_match"], "max_new_tokens": 24},
        "export": {"parity": {"num_prompts": 2, "max_new_tokens": 8}},
    }
    rows = {"train": ["red", "green"], "validation": ["blue"]}
    trained = left_by(training.run(tuned_task("train", **rows, **job), quiet_report), tmp_path / "trained")
    evaluated = evaluation.run(tuned_task("evaluate", outputs={"train": trained}, **job), quiet_report)
    assert evaluated.metrics["exact_match_tuned"] == 1.0
    done = {"train": trained, "evaluate": left_by(evaluated, tmp_path / "evaluated")}
    exported = export.run(tuned_task("export", outputs=done, **job), quiet_report)
    assert exported.result["formats"] == ["peft"]
    assert exported.metrics["greedy_agreement"] == 1.0
    assert exported.folder is not None
    assert "X-LoRA over 2 adapters" in (exported.folder / "README.md").read_text()
    assert len([*exported.folder.glob("peft/[01]/adapter_model.safetensors")]) == 2
