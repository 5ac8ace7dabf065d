"""Plans of whole jobs: what fits where, at the same global batch, and what would fit if nothing does."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidRequestError
from luthier.planning.fit import lay_out
from luthier.planning.hardware import Hardware, HardwareTable, load_hardware
from luthier.planning.job_plan import JobPlan, plan_job
from luthier.planning.methods import UnknownMethodError
from luthier.planning.question import question_of
from luthier.planning.setting import Setting
from luthier.planning.sharding import Sharding, sharding_of
from luthier.planning.workload import DataFigures
from luthier.spec import JobSpec, ResourcesSpec
from luthier.spec.distributed import ZeroSpec
from tests.unit.luthier.planning.test_shape import LLAMA_8B, LLAMA_70B, SMALL

DATA = DataFigures(num_rows=10_000, num_tokens=4_000_000, num_targets=2_000_000, longest=1000, source="a test")
TABLE = load_hardware()
ZERO_3 = ZeroSpec(type="zero", stage=3)


def _spec(method: str, **training: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "job",
            "base_model": "/models/base",
            "data": {"path": "/data/rows.jsonl"},
            "method": {"type": method},
            "training": {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2} | training,
        }
    )


def _plan(method: str, config: dict[str, Any], *hardware: str, **training: Any) -> JobPlan:
    return plan_job(_spec(method, **training), config, DATA, TABLE.name(hardware) if hardware else TABLE)


def test_70b_with_all_weights_fits_on_eight_times_80_gb_if_the_host_has_room_for_its_state() -> None:
    eight = TABLE.name(["8 x H100 80GB"]).hardware[0]
    plan = _plan("full", LLAMA_70B, eight.name)
    (asked,) = plan.asked
    assert asked.memory.peak_bytes > 16 * 70e9, "16 bytes per parameter on one device"
    assert not asked.fits
    (found,) = plan.best
    assert (found.setting.sharding.strategy, found.setting.sharding.offloads_weights) == ("fsdp", True)
    assert found.memory.peak_bytes < 0.9 * eight.memory_bytes
    assert found.memory.host_bytes == pytest.approx(16 * 70.55e9, rel=0.01), "weights, gradients and AdamW's state"
    narrow = replace(TABLE, hardware=(eight.model_copy(update={"host_memory_gib": 1100}),))
    short = plan_job(_spec("full"), LLAMA_70B, DATA, narrow)
    assert short.best == ()
    assert "of the machine's memory" in short.advice[0]
    assert any("it fits on 16 such devices" in line for line in short.advice)


def test_70b_with_lora_fits_on_eight_times_80_gb_without_the_host() -> None:
    (found,) = _plan("lora", LLAMA_70B, "8 x H100 80GB").best
    assert (found.setting.sharding.strategy, found.setting.sharding.offloads_weights) == ("fsdp", False)
    assert found.memory.host_bytes == pytest.approx(2 * 70.55e9, rel=0.1), "pages of the file"
    gathered = 2 * 128256 * 8192 + (70.55e9 - 2 * 128256 * 8192) / 80  # what is around the blocks, and one of them
    assert found.memory.parts["weights"] == pytest.approx(2 * 70.55e9 / 8 + 2 * gathered, rel=0.02)


def test_what_to_write_in_the_job_file_is_said() -> None:
    (found,) = _plan("lora", LLAMA_70B, "8 x H100 80GB").best
    fields = found.job_file()
    assert fields["resources.num_ranks"] == 8
    assert fields["resources.distributed"] == {"type": "fsdp"}
    rows = fields["training.per_device_train_batch_size"] * fields["training.gradient_accumulation_steps"]
    assert rows == 16, "the rows of a step stay what they were"


def test_a_job_that_may_not_divide_its_state_is_told_what_that_takes() -> None:
    plan = _plan("lora", LLAMA_70B, "8 x H100 80GB", precision="fp16")
    assert plan.best == ()
    assert "resources.distributed.type: fsdp, which this job file is not accepted with" in "\n".join(plan.advice)


def test_stage_3_of_zero_loads_its_part_on_every_device() -> None:
    spec = _spec("lora").model_copy(update={"resources": ResourcesSpec(num_ranks=8, distributed=ZERO_3)})
    (asked,) = plan_job(spec, LLAMA_70B, DATA, TABLE.name(["8 x H100 80GB"])).asked
    assert asked.setting.num_devices == 8
    assert 2 * 70e9 / 8 < asked.memory.phases["load"] < 2 * 70e9 / 6
    assert not asked.fits


def test_the_global_batch_is_the_same_everywhere() -> None:
    for layout in _plan("lora", LLAMA_8B).best:
        assert layout.micro_rows * layout.accumulation * layout.setting.num_devices == 16


def test_each_stage_of_zero_takes_less() -> None:
    question = question_of(_spec("full"), LLAMA_8B, DATA)
    eight = TABLE.name(["8 x H100 80GB"]).hardware[0]
    shardings = [sharding_of(ZeroSpec(type="zero", stage=stage)) for stage in (1, 2)]
    layouts = [lay_out(question, eight, Setting(4, "gpu", 8, 1, each), 1) for each in (Sharding("zero"), *shardings)]
    needs = [layout.memory.phases["end of the backward pass"] for layout in layouts]
    saved = [round((before - after) / question.shape.num_parameters, 1) for before, after in itertools.pairwise(needs)]
    # Seven eighths of 8 bytes of state and of 4 of gradients per parameter.
    assert saved == [7.0, 3.5]


def test_the_cheapest_and_the_quickest_are_named() -> None:
    plan = _plan("lora", LLAMA_8B)
    prices = {layout.hardware: layout.cost.price for layout in plan.best}
    speeds = {layout.hardware: layout.cost.tokens_per_second for layout in plan.best}
    assert plan.cheapest == min(prices, key=lambda name: prices[name])
    assert plan.quickest == max(speeds, key=lambda name: speeds[name])
    assert all(layout.cost.kilowatt_hours > 0 for layout in plan.best)


def test_memory_that_is_too_small_is_met_by_smaller_passes_or_recomputation() -> None:
    (asked,), (found,) = (_plan("qlora", LLAMA_8B, "1 x L4", pack_length=2048).asked,
                          _plan("qlora", LLAMA_8B, "1 x L4", pack_length=2048).best)  # fmt: skip
    assert not asked.fits
    assert found.fits
    assert found.micro_rows < 8 or found.setting.checkpointing != "none"


def test_when_nothing_fits_it_says_what_would() -> None:
    plan = _plan("lora", LLAMA_70B, "1 x A100 80GB")
    assert plan.best == ()
    assert plan.cheapest is None
    said = "\n".join(plan.advice)
    assert "the least that this job needs on 1 x A100 80GB" in said
    assert "method.type: qlora" in said
    assert "such devices" in said


def test_what_is_not_known_of_the_data_is_said() -> None:
    plan = plan_job(_spec("lora"), LLAMA_8B, DataFigures(), TABLE)
    assert all(layout.cost.seconds is None for layout in plan.best)
    assert any("max_steps" in note for note in plan.notes)
    assert plan.cheapest is None
    assert plan.quickest


def test_an_objective_without_arithmetic_is_named() -> None:
    spec = _spec("lora").model_copy(update={"objective": type("Other", (), {"type": "other"})()})
    with pytest.raises(UnknownMethodError, match="other"):
        plan_job(spec, SMALL | {"model_type": "llama"}, DATA, TABLE)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "currency: EUR\nhardware:\n- {name: mine, memory_gib: 24, bf16_tflops: 100, fp32_tflops: 50, "
        "bandwidth_gb_s: 900, efficiency: 0.3, price_per_hour: 0.1}\n"
    )
    table = load_hardware(own)
    assert (table.currency, [row.name for row in table.hardware]) == ("EUR", ["mine"])
    own.write_text("currency: EUR\nhardware:\n- {name: mine, memory: 24}\n")
    with pytest.raises(InvalidRequestError, match=r"hardware\.0\.memory"):
        load_hardware(own)


def test_an_accelerator_is_found_by_its_name() -> None:
    found = TABLE.find("NVIDIA H100 80GB HBM3", 8)
    assert found is not None
    assert found.name == "8 x H100 80GB"
    assert TABLE.find("NVIDIA GeForce", 1) is None
    assert isinstance(TABLE, HardwareTable)
    assert all(isinstance(row, Hardware) for row in TABLE.hardware)


def test_answers_that_are_sampled_count_at_their_longest_and_without_a_time() -> None:
    objective = {"type": "grpo", "rewards": [{"type": "exact_match"}], "max_completion_length": 200}
    document = _spec("lora", per_device_train_batch_size=8, gradient_accumulation_steps=1).model_dump(mode="json")
    training = {key: value for key, value in document["training"].items() if key not in ("packing", "eval_steps")}
    spec = JobSpec.model_validate(document | {"objective": objective, "training": training | {"packing": False}})
    question = question_of(spec, SMALL | {"model_type": "llama"}, DATA)
    assert question.work.row_tokens == 8 * (1000 + 200)
    assert question.num_sampled == question.work.row_tokens
    plan = plan_job(spec, SMALL | {"model_type": "llama"}, DATA, TABLE)
    assert "answers" in plan.asked[0].memory.phases
    assert all(layout.cost.seconds is None for layout in plan.asked)
    assert any("time is not planned" in note for note in plan.notes)
