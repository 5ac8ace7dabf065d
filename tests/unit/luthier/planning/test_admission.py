"""What is said of a job that no worker can hold."""

import pytest

from luthier.errors import InvalidRequestError
from luthier.planning.admission import Machine, check_fit
from luthier.planning.configs import find_config
from luthier.planning.hardware import load_hardware
from luthier.planning.memory import GIB
from luthier.spec import JobSpec
from tests.unit.luthier.planning.test_shape import LLAMA_8B

SMOL = find_config("smollm2-135m-instruct", None)
TABLE = load_hardware()


def _spec(worker_class: str = "cpu", when_too_large: str = "warn", method: str = "lora", **training: object) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "job",
            "base_model": "smollm2-135m-instruct",
            "data": {"path": "/x"},
            "method": {"type": method},
            "training": training,
            "resources": {"worker_class": worker_class, "when_too_large": when_too_large},
        }
    )


def test_nothing_is_said_of_a_job_that_fits_one_of_them() -> None:
    machines = [Machine(["cpu"], 1 * GIB), Machine(["cpu"], 16 * GIB)]
    assert check_fit(_spec(), SMOL, machines, TABLE) == ""


def test_a_job_that_is_too_large_is_told_how_it_would_fit() -> None:
    text = check_fit(_spec(per_device_train_batch_size=8), SMOL, [Machine(["cpu"], 4 * GIB)], TABLE)
    assert "the largest cpu worker has 4.0" in text
    assert "training.per_device_train_batch_size: 2, training.gradient_accumulation_steps: 4" in text


def test_when_no_setting_helps_it_says_so() -> None:
    text = check_fit(_spec(method="full"), LLAMA_8B, [Machine(["cpu"], 16 * GIB)], TABLE)
    assert "no setting of its passes" in text


def test_it_is_refused_only_if_the_job_asks() -> None:
    spec = _spec(method="full", when_too_large="refuse")
    with pytest.raises(InvalidRequestError, match="luthier plan"):
        check_fit(spec, LLAMA_8B, [Machine(["cpu"], 16 * GIB)], TABLE)


def test_an_accelerator_counts_with_its_own_memory() -> None:
    worker = Machine(["cpu", "gpu"], 2000 * GIB, "NVIDIA H100 80GB HBM3", 8)
    assert check_fit(_spec("gpu"), LLAMA_8B, [worker], TABLE) == ""
    assert "79.1" in check_fit(_spec("gpu", method="full"), LLAMA_8B, [worker], TABLE)


@pytest.mark.parametrize(
    "machines", [[], [Machine(["gpu"], 0)], [Machine(["cpu"], 0)], [Machine(["gpu"], 8 * GIB, "NVIDIA Unheard Of", 1)]]
)
def test_nothing_is_said_where_nobody_can_say(machines: list[Machine]) -> None:
    assert check_fit(_spec("gpu", method="full"), LLAMA_8B, machines, TABLE) == ""
    assert check_fit(_spec(), SMOL | {"model_type": "gpt_neox"}, [Machine(["cpu"], GIB)], TABLE) == ""
