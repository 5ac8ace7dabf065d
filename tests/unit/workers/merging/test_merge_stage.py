"""The stage: adapters in; what comes out loads in plain PEFT or transformers and has the merged weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from tests.unit.workers.merging.conftest import MakeAdapter
from workers.evaluation import stage as evaluation
from workers.export import stage as export
from workers.failures import ConfigError, DataError, PreemptedError
from workers.merging.stage import run
from workers.models.tuned import load_tuned
from workers.task import StageResult, Task

MakeTask = Callable[..., Task]
IDS = torch.tensor([[5, 9, 30, 31, 32]])


def merge_of(adapters: dict[Path, float], **section: Any) -> dict[str, Any]:
    rows = [{"path": str(path), "weight": weight} for path, weight in adapters.items()]
    return {"type": "linear", "adapters": rows, **section}


def plain(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def changes_of(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What PEFT itself adds to each weight."""
    before = plain(base).state_dict()
    after = PeftModel.from_pretrained(plain(base), str(adapter)).merge_and_unload().state_dict()
    return {name: after[name] - before[name] for name in before if not torch.equal(after[name], before[name])}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def changed(base: Path, deltas: dict[str, torch.Tensor]) -> Any:
    model = plain(base)
    state = model.state_dict()
    with torch.no_grad():
        for name, delta in deltas.items():
            state[name].add_(delta)
    return model


def folder_of(result: StageResult) -> Path:
    assert result.folder is not None
    return result.folder


def weighted_sum(parts: list[tuple[float, dict[str, torch.Tensor]]]) -> dict[str, torch.Tensor]:
    total: dict[str, torch.Tensor] = {}
    for weight, deltas in parts:
        for name, delta in deltas.items():
            total[name] = total.get(name, 0) + weight * delta
    return total


def test_a_linear_merge_is_exact_over_ranks_scales_and_layers(
    tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter, teachable_model_dir: Path
) -> None:
    one = make_adapter("one", 1, r=3, lora_alpha=5)
    two = make_adapter("two", 2, r=6, use_rslora=True, target_modules=["q_proj", "down_proj"])
    three = make_adapter("three", 3, r=4, rank_pattern={"v_proj": 2}, alpha_pattern={"v_proj": 7, "0.mlp.up_proj": 3})
    weights = {one: 0.6, two: -0.3, three: 1.2}
    result = run(tuned_task("merge", merge=merge_of(weights)), quiet_report)
    expected = weighted_sum([(weight, changes_of(teachable_model_dir, path)) for path, weight in weights.items()])
    merged = PeftModel.from_pretrained(plain(teachable_model_dir), str(folder_of(result) / "adapter"))
    assert torch.allclose(logits(merged), logits(changed(teachable_model_dir, expected)), atol=2e-4)
    found = changes_of(teachable_model_dir, folder_of(result) / "adapter")
    assert found.keys() == expected.keys()
    for name, delta in expected.items():
        assert torch.allclose(found[name], delta, atol=1e-5), name
    assert torch.allclose(
        logits(load_tuned(teachable_model_dir, folder_of(result), torch.float32)), logits(merged), atol=1e-5
    )
    assert result.result["relative_error"] is None
    steps = [step for step, *_ in quiet_report.steps]
    assert steps == [0, *range(1, result.result["num_matrices"] + 1)]


def test_the_mean_of_an_adapter_and_itself_is_that_adapter(
    tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter, teachable_model_dir: Path
) -> None:
    """PEFT's own `linear` passes this one, and fails the test above: it merges A and B one by one."""
    one = make_adapter("one", 1)
    rows = [{"path": str(one), "weight": 0.5}] * 2
    result = run(tuned_task("merge", merge={"type": "linear", "adapters": rows}), quiet_report)
    expected = changes_of(teachable_model_dir, one)
    for name, delta in changes_of(teachable_model_dir, folder_of(result) / "adapter").items():
        assert torch.allclose(delta, expected[name], atol=1e-5)


@pytest.mark.parametrize("kind", ["ties", "dare_linear", "dare_ties"])
def test_what_has_no_low_rank_becomes_a_whole_model(
    tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter, teachable_model_dir: Path, kind: str
) -> None:
    adapters = {make_adapter("one", 1): 0.5, make_adapter("dora", 2, use_dora=True): 0.8}
    section = merge_of(adapters, type=kind, density=0.5, seed=3)
    folders = [folder_of(run(tuned_task("merge", merge=section), quiet_report)) for _ in range(2)]
    files = [(folder / "model" / "model.safetensors").read_bytes() for folder in folders]
    assert files[0] == files[1], "the same job leaves the same bits"
    before = load_file(teachable_model_dir / "model.safetensors")
    after = load_file(folders[0] / "model" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if "_proj" in name}
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    if kind == "ties":
        deltas = [changes_of(teachable_model_dir, path) for path in adapters]
        name = next(iter(moved))
        kept = [_trimmed(delta[name]) for delta in deltas]
        sign = torch.where(sum(kept) >= 0, 1, -1)
        agreeing = [torch.where(delta.sign() == sign, delta, 0) for delta in kept]
        count = sum((delta != 0).int() for delta in agreeing).clamp(min=1)
        expected = (0.5 * agreeing[0] + 0.8 * agreeing[1]) / count
        found = after[name].float() - before[name].float()
        assert torch.allclose(found, expected, atol=0.02 * before[name].abs().max().item())
        assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), 0) > 0.99


def _trimmed(delta: torch.Tensor) -> torch.Tensor:
    least = delta.abs().flatten().kthvalue(delta.numel() - delta.numel() // 2 + 1).values
    return torch.where(delta.abs() >= least, delta, 0)


def test_dora_merges_as_what_it_does_to_the_weights(
    tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter, teachable_model_dir: Path
) -> None:
    dora = make_adapter("dora", 2, use_dora=True)
    section = merge_of({dora: 1.0}, svd_rank=64)
    result = run(tuned_task("merge", merge=section), quiet_report)
    assert result.metrics["relative_error"] < 1e-4, "64 is the full rank here"
    expected = changes_of(teachable_model_dir, dora)
    for name, delta in changes_of(teachable_model_dir, folder_of(result) / "adapter").items():
        assert torch.allclose(delta, expected[name], atol=1e-3)
    with pytest.raises(ConfigError, match=r"weight-decomposed .* merge.output: model, or merge.svd_rank"):
        run(tuned_task("merge", merge=merge_of({dora: 1.0})), quiet_report)


def test_a_lower_rank_says_what_it_loses(
    tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter, teachable_model_dir: Path
) -> None:
    section = merge_of({make_adapter("one", 1): 1.0, make_adapter("two", 2): 1.0}, type="ties", density=0.7)
    lost = [
        run(tuned_task("merge", merge=section | {"svd_rank": rank}), quiet_report).metrics["relative_error"]
        for rank in (2, 12)
    ]
    assert 0.9 > lost[0] > lost[1] > 0.05


@pytest.mark.parametrize(
    ("section", "formats"), [({}, ["peft", "merged"]), ({"type": "ties", "density": 0.6}, ["merged"])]
)
def test_a_merge_is_evaluated_and_exported_as_a_trained_model_is(
    tuned_task: MakeTask, quiet_report: Any, adapter_dir: Path, make_adapter: MakeAdapter, section: Any, formats: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    artifact = publish_copy(adapter_dir, make_adapter("other", 5).parent / "train")
    merge = merge_of({artifact: 1.0, make_adapter("one", 1): 0.0}, **section)
    job = {
        "merge": merge,
        "evaluation": {"metrics": ["exact_match"], "max_new_tokens": 24},
        "export": {"formats": formats, "dtype": "float32", "parity": {"num_prompts": 2, "max_new_tokens": 8}},
    }
    merged = outputs(run(tuned_task("merge", **job), quiet_report), tmp_path / "merged")
    evaluated = evaluation.run(tuned_task("evaluate", outputs={"merge": merged}, **job), quiet_report)
    if not section:
        assert evaluated.metrics["exact_match_tuned"] == 1.0
    done = {"merge": merged, "evaluate": outputs(evaluated, tmp_path / "evaluated")}
    exported = export.run(tuned_task("export", outputs=done, **job), quiet_report)
    assert exported.result["formats"] == formats
    assert exported.metrics["greedy_agreement"] == 1.0
    card = (folder_of(exported) / "README.md").read_text()
    assert "changed by 2 adapters" in card
    assert "## Merging" in card
    assert "## Training" not in card


def publish_copy(folder: Path, target: Path) -> Path:
    copy = target.with_name("copy")
    shutil.copytree(folder, copy)
    publish(copy, str(target))
    return target


def outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(folder_of(result), str(uri))
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result), metrics=result.metrics
    )


def test_an_artifact_of_another_project_is_out_of_reach(
    tuned_task: MakeTask, quiet_report: Any, adapter_dir: Path, tmp_path: Path
) -> None:
    theirs = publish_copy(adapter_dir, tmp_path / "store" / "theirs" / "job" / "train")
    ours = publish_copy(adapter_dir, tmp_path / "store" / "ours" / "job" / "train")

    def task(path: Path | str) -> Task:
        made = tuned_task("merge", merge=merge_of({Path(path): 1.0}))
        made.assignment.project_id = "ours"
        object.__setattr__(made, "settings", made.settings.model_copy(update={"artifacts": str(tmp_path / "store")}))
        return made

    assert run(task(ours), quiet_report).result["num_matrices"] > 0
    for path in (theirs, ours / ".." / ".." / ".." / "theirs" / "job" / "train"):
        with pytest.raises(ConfigError, match=r"merge\.adapters\.0\.path .* outside the places"):
            run(task(path), quiet_report)


def test_a_damaged_artifact_is_not_used(
    tuned_task: MakeTask, quiet_report: Any, adapter_dir: Path, make_adapter: MakeAdapter
) -> None:
    artifact = publish_copy(adapter_dir, make_adapter("one", 1).parent / "train")
    (artifact / "summary.json").write_text("{} ")
    with pytest.raises(DataError, match=r"is damaged and was not used: .*summary\.json"):
        run(tuned_task("merge", merge=merge_of({artifact: 1.0})), quiet_report)


def rewrite(folder: Path, **changes: Any) -> None:
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def rename(folder: Path, old: str, new: str) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name.replace(old, new): tensor for name, tensor in load_file(file).items()}, file)


def swap(folder: Path, one: str, other: str) -> None:
    for old, new in ((one, "held"), (other, one), ("held", other)):
        rename(folder, old, new)


def poison(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, file)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "other-kind": (lambda folder: rewrite(folder, peft_type="IA3"), "is of the kind IA3; only LoRA"),
    "other-base": (lambda folder: rewrite(folder, base_model_name_or_path="/x/llama"), "of the base model '/x/llama'"),
    "modules": (lambda folder: rewrite(folder, modules_to_save=["lm_head"]), "has modules_to_save in its config"),
    "future": (lambda folder: rewrite(folder, use_something_new=3), "has use_something_new in its config"),
    "start": (lambda folder: rewrite(folder, init_lora_weights="pissa"), "started with pissa, beside base weights"),
    "not-json": (lambda folder: (folder / "adapter_config.json").write_text("{"), "is not JSON"),
    "embedding": (lambda folder: rename(folder, "lora_A.weight", "lora_embedding_A"), "which is no part of a linear"),
    "half": (lambda folder: rename(folder, "q_proj.lora_A", "x_proj.lora_A"), "one matrix of .* without the other"),
    "layer": (lambda folder: rename(folder, "q_proj", "x_proj"), "no linear layer of that name; it is of another"),
    "size": (lambda folder: swap(folder, "q_proj", "k_proj"), "_proj as one of (16|32) x 32, and it is (32|16) x 32"),
    "not-finite": (poison, "is not finite; its training diverged"),
    "pickle": (
        lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
        "is never opened",
    ),
    "nothing": (lambda folder: save_file({}, folder / "adapter_model.safetensors"), "holds no weights in adapter"),
    "torn": (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\0" * 40), "is damaged"),
    "empty": (lambda folder: (folder / "adapter_config.json").unlink(), "holds no adapter"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_merged_is_refused_by_name(
    tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter, name: str
) -> None:
    spoil, reason = BAD[name]
    good, bad = make_adapter("good", 1), make_adapter("bad", 2)
    spoil(bad)
    with pytest.raises(ConfigError, match=reason) as caught:
        run(tuned_task("merge", merge=merge_of({good: 0.5, bad: 0.5})), quiet_report)
    assert str(bad) in str(caught.value)


def test_asked_to_stop_it_leaves_nothing(tuned_task: MakeTask, quiet_report: Any, make_adapter: MakeAdapter) -> None:
    quiet_report.stop = True
    with pytest.raises(PreemptedError):
        run(tuned_task("merge", merge=merge_of({make_adapter("one", 1): 1.0})), quiet_report)
