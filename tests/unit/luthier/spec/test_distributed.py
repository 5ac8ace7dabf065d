"""`resources.distributed`: what does not fit is refused with the field and the remedy."""

from typing import Any

import pytest
from pydantic import ValidationError

from luthier.spec import JobSpec
from luthier.spec.distributed import FsdpSpec

PLAIN: dict[str, Any] = {"name": "job", "base_model": "tiny", "data": {"path": "/data.jsonl"}}


def job(distributed: dict[str, Any], **sections: Any) -> JobSpec:
    return JobSpec.model_validate(PLAIN | sections | {"resources": {"num_ranks": 2, "distributed": distributed}})


def test_ranks_are_replicas_unless_asked_otherwise() -> None:
    assert JobSpec.model_validate(PLAIN).resources.num_ranks == 1
    assert JobSpec.model_validate(PLAIN).resources.distributed.type == "ddp"
    assert job({"type": "zero"}).resources.distributed.divides_state


def test_fsdp_lets_go_of_a_layer_after_its_forward_pass() -> None:
    section = job({"type": "fsdp", "offload": "cpu"}, method={"type": "full"}).resources.distributed
    assert isinstance(section, FsdpSpec)
    assert section.divides_state
    assert section.reshard_after_forward


@pytest.mark.parametrize(
    ("distributed", "words"),
    [
        ({"type": "zero", "stage": 2, "offload_param": "cpu"}, "take stage: 3"),
        ({"type": "zero", "stage": 1, "offload_optimizer": "nvme", "nvme_path": "/fast"}, "take stage: 3"),
        ({"type": "zero", "stage": 3, "offload_param": "nvme"}, "nvme_path"),
    ],
)
def test_offload_that_a_stage_does_not_have_is_refused(distributed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        job(distributed)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"method": {"type": "qlora"}}, "method.type qlora does not allow; take lora or full"),
        ({"training": {"optim": "lamb"}}, "training.optim lamb does not allow; take adamw"),
        ({"training": {"precision": "fp16"}}, "training.precision fp16 does not allow; take auto or bf16 or fp32"),
        ({"training": {"ema_decay": 0.99}}, "training.ema_decay 0.99 does not allow; take null"),
    ],
)
@pytest.mark.parametrize("strategy", ["zero", "fsdp"])
def test_what_cannot_be_divided_is_refused(strategy: str, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        job({"type": strategy}, **sections)
