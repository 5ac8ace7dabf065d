"""What ranks hold while they load: their part, or all of the model where it has to be read first."""

from dataclasses import replace

import pytest

from luthier.planning.memory import estimate_memory
from luthier.planning.question import question_of
from luthier.planning.setting import Setting
from luthier.planning.sharding import sharding_of
from luthier.planning.workload import DataFigures
from luthier.spec import JobSpec
from luthier.spec.distributed import DdpSpec, FsdpSpec, ZeroSpec
from tests.unit.luthier.planning.test_shape import LLAMA_70B

NUM = 70.55e9
TABLE = 128256 * 8192
"""Elements of the largest tensor."""
FSDP, OFFLOADED = FsdpSpec(type="fsdp"), FsdpSpec(type="fsdp", offload="cpu")
ZERO_2, ZERO_3 = (ZeroSpec(type="zero", stage=stage) for stage in (2, 3))


def make_question(method, objective="sft", **options):
    spec = {"name": "job", "base_model": "/models/base", "data": {"path": "/data/rows.jsonl"}}
    spec |= {"objective": {"type": objective}}
    document = spec | {"method": {"type": method} | options}
    return question_of(JobSpec.model_validate(document), LLAMA_70B, DataFigures())


def loading(question, section, machines=1):
    """Bytes on a device while it loads, and of the host of a machine, without its eight runners."""
    setting = Setting(2, "gpu", 8 * machines, machines, sharding_of(section))
    memory = estimate_memory(question, setting)
    return memory.phases["load"] - 600 * 2**20, memory.host_bytes - 8 * 600 * 2**20


@pytest.mark.parametrize(
    ("method", "section", "device"),
    [
        ("full", FSDP, 4 * NUM / 8),
        ("full", OFFLOADED, 0),
        ("full", ZERO_3, 4 * NUM / 8 + 4 * TABLE),
        ("full", ZERO_2, 4 * NUM),
        ("full", DdpSpec(), 4 * NUM),
        ("lora", FSDP, 2 * NUM / 8),
        ("lora", ZERO_3, 2 * NUM / 8 + 4 * TABLE),
        ("lora", DdpSpec(), 2 * NUM),
    ],
)
def test_a_device_gets_its_part_where_weights_are_divided(method, section, device):
    assert loading(make_question(method), section)[0] == pytest.approx(device, rel=0.02)


@pytest.mark.parametrize(
    ("method", "section", "machines", "host"),
    [
        ("full", FSDP, 1, (12 + 4) * NUM),  # the copy of a checkpoint, and the weights that are saved
        ("full", OFFLOADED, 1, 16 * NUM),
        ("full", OFFLOADED, 2, (12 / 2 + 4) * NUM),
        ("lora", FSDP, 1, 2 * NUM + 4 * TABLE),
        ("lora", OFFLOADED, 1, 2 * NUM + 2 * NUM),  # pages of the file, and what is made of them
    ],
)
def test_a_host_has_room_for_parts_and_a_tensor(method, section, machines, host):
    assert loading(make_question(method), section, machines)[1] == pytest.approx(host, rel=0.03)


def test_where_weights_are_looked_at_each_rank_of_fsdp_has_all_of_them_on_the_host():
    assert not make_question("lora").reads_whole
    assert not make_question("lora", "classification").reads_whole
    assert make_question("lora", use_dora=True).reads_whole
    whole = replace(make_question("full"), reads_whole=True)
    for machines in (1, 4):
        assert loading(whole, FSDP, machines) == pytest.approx((0, 8 * 4 * NUM + 2 * NUM), rel=0.01)


def test_on_a_cpu_a_rank_takes_its_rows_and_their_pages():
    memory = estimate_memory(make_question("full"), Setting(4, "cpu", 8, 1, sharding_of(FSDP)))
    assert memory.phases["load"] == pytest.approx(4 * NUM / 8 + 2 * NUM / 8, rel=0.05)
