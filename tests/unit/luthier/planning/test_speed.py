"""How long a step takes: passes that ranks share, and what DoRA does in each."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from luthier.planning.fit import lay_out
from luthier.planning.hardware import Hardware
from luthier.planning.methods import adapt
from luthier.planning.question import question_of
from luthier.planning.setting import Setting
from luthier.planning.shape import read_shape
from luthier.planning.sharding import Sharding
from luthier.planning.workload import DataFigures
from luthier.spec import JobSpec, LoraSpec, QloraSpec
from tests.unit.luthier.planning.test_shape import SMALL

CONFIG = SMALL | {"model_type": "llama"}
DATA = DataFigures(num_rows=800, num_tokens=92_000, num_targets=22_000, longest=250)
CPU = Hardware(name="cpu", kind="cpu", memory_gib=64, bf16_tflops=1, fp32_tflops=1, bandwidth_gb_s=50, efficiency=0.5)


def question(method=None, **training):
    document = {"name": "m", "base_model": "/base", "data": {"path": "/rows", "max_length": 250}, "training": training}
    return question_of(JobSpec.model_validate(document | {"method": method or {}}), CONFIG, DATA)


def laid_out(asked, ranks, micro_rows=1, **setting):
    return lay_out(asked, CPU, Setting(2, "cpu", ranks, **setting), micro_rows)


@pytest.mark.parametrize(
    ("rows", "micro_rows", "ranks", "passes", "share"),
    [
        (1, 1, 1, 1, 1),
        (1, 1, 2, 1, 1 / 2),
        (2, 1, 2, 1, 1),
        (2, 2, 2, 1, 1 / 2),
        (3, 1, 2, 2, 3 / 4),
        (4, 1, 3, 2, 2 / 3),
        (5, 2, 2, 2, 5 / 8),
        (7, 2, 4, 1, 1),
    ],
)
def test_ranks_share_a_step_whose_passes_do_not_come_out_even(rows, micro_rows, ranks, passes, share):
    asked = question(gradient_accumulation_steps=rows)
    # Their work alone, without what does not grow with it.
    quick = CPU.model_copy(update={"bandwidth_gb_s": 1e9})
    alone, shared = (lay_out(asked, quick, Setting(2, "gpu", number), micro_rows) for number in (1, ranks))
    assert shared.accumulation == passes
    activations = [layout.memory.parts["activations"] for layout in (shared, alone)]
    assert activations[0] / activations[1] == pytest.approx(share, rel=0.02)
    rate = shared.cost.tokens_per_second / alone.cost.tokens_per_second
    assert rate == pytest.approx(alone.accumulation / (passes * share), rel=0.02)


def test_a_sample_is_not_divided():
    asked = question(pack_length=1024)
    eight, sixteen = (laid_out(asked, ranks) for ranks in (8, 16))
    assert eight.memory.peak_bytes == sixteen.memory.peak_bytes
    assert eight.cost.tokens_per_second == pytest.approx(sixteen.cost.tokens_per_second)


def test_where_state_is_divided_a_whole_pass_leaves_room_for_messages():
    asked = question({"type": "full"})
    one, two = (laid_out(asked, ranks, sharding=Sharding("fsdp", 3, gathers_blocks=True)) for ranks in (1, 2))
    assert two.memory.parts["activations"] == one.memory.parts["activations"]
    assert two.cost.tokens_per_second > one.cost.tokens_per_second


def test_dora_makes_its_update_of_a_unit_matrix_in_every_pass():
    """As often as there are passes, however long they are."""
    flops = {}
    for use_dora in (False, True):
        model = torch.nn.ModuleDict({"layer": torch.nn.Linear(48, 80)})
        model.forward = lambda x, layer=model: layer["layer"](x)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["layer"], use_dora=use_dora)).train()
        with FlopCounterMode(display=False) as counter:
            model(torch.zeros(5, 48))
        flops[use_dora] = counter.get_total_flops()
    assert flops[True] - flops[False] == 2 * 4 * 48 * (48 + 80)
    shape = read_shape(CONFIG)
    expected = sum(2 * 4 * part.num_in * (part.num_in + part.num_out) for part in shape.linears())
    dora = LoraSpec(r=4, use_dora=True)
    assert adapt(shape, dora).pass_flops == expected
    assert adapt(shape, QloraSpec(type="qlora", r=4, use_dora=True)).pass_flops == expected
    assert adapt(shape, LoraSpec(r=4)).pass_flops == adapt(shape, LoraSpec(r=4)).pass_elements == 0


def test_dora_takes_longer_the_shorter_its_passes_are():
    slower = []
    for length in (512, 4096):
        plain, dora = (question({"r": 4, "use_dora": use}, pack_length=length, max_steps=1) for use in (False, True))
        plain = replace(plain, adaptation=replace(dora.adaptation, pass_flops=0, pass_elements=0))
        slower.append(laid_out(plain, 1).cost.tokens_per_second / laid_out(dora, 1).cost.tokens_per_second - 1)
    assert slower[0] == pytest.approx(8 * slower[1], rel=0.25)
    assert slower[1] > 0.001
