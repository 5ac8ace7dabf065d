"""The kernels of one run: chosen once, before its first step, put into its model, and told in its summary."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from luthier.spec import JobSpec, PretrainSpec, SftSpec
from luthier.spec.plan import lessons_stage
from workers.models.inner import inner_model
from workers.models.tuned import TunedModel
from workers.training.attention import register
from workers.training.kernels.attention import choose_attention
from workers.training.kernels.contract import Wanted
from workers.training.kernels.layers import choose_layers
from workers.training.kernels.norms import choose_norms
from workers.training.kernels.output_loss import LOSSES, PLAIN, choose_loss, loss_by
from workers.training.kernels.rotary import choose_positions
from workers.training.objectives.sft import SummedLoss


@dataclass(frozen=True)
class Kernels:
    """What computes."""

    attention: str
    layers: str
    """RMSNorm, SwiGLU and rotary positions on a GPU."""
    norms: str
    """RMSNorm on a CPU."""
    positions: str
    """Rotary positions on a CPU."""
    loss: str
    """Of supervised fine-tuning and pre-training; the others read logits."""
    passed_over: dict[str, str]
    """Why quicker ones are not used: `<part>.<kernel>` and the reason."""

    @property
    def summed_loss(self) -> SummedLoss:
        """See `workers.training.objectives.sft.summed_loss`."""
        return loss_by(self.loss)

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)


def use_kernels(model: TunedModel, spec: JobSpec, compute: torch.dtype, device: torch.device) -> Kernels:
    """Chooses kernels for `model`, which is as the method left it and will train on `device`, and makes it use them."""
    inner = inner_model(model)
    wanted = _wanted(inner, compute, device)
    attention, slower_attention = choose_attention(wanted)
    inner.set_attn_implementation(register(attention))
    layers, slower_layers = choose_layers(inner, wanted)
    norms, slower_norms = choose_norms(inner, compute, device)
    positions, slower_positions = choose_positions(inner, device)
    loss, slower_loss = _loss(model, spec, compute)
    passed_over = {
        "attention": slower_attention,
        "layers": slower_layers,
        "norms": slower_norms,
        "positions": slower_positions,
        "loss": slower_loss,
    }
    return Kernels(
        attention,
        layers,
        norms,
        positions,
        loss,
        {f"{part}.{name}": reason for part, reasons in passed_over.items() for name, reason in reasons.items()},
    )


def _wanted(model: PreTrainedModel, compute: torch.dtype, device: torch.device) -> Wanted:
    config: Any = model.config.get_text_config()
    num_heads = config.num_attention_heads
    return Wanted(
        device=device,
        dtype=compute,
        num_heads=num_heads,
        num_key_heads=getattr(config, "num_key_value_heads", None) or num_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // num_heads,
        has_dropout=getattr(config, "attention_dropout", 0.0) > 0.0,
    )


def _loss(model: TunedModel, spec: JobSpec, compute: torch.dtype) -> tuple[str, dict[str, str]]:
    if not isinstance(spec.objective, SftSpec | PretrainSpec) and lessons_stage(spec) != "teach":
        return PLAIN, dict.fromkeys(LOSSES, f"{spec.objective.type} reads the logits")
    if spec.data.sources is not None:
        return PLAIN, dict.fromkeys(LOSSES, "the loss of each of data.sources is told")
    if spec.resources.distributed.divides_state:
        return PLAIN, dict.fromkeys(LOSSES, "the output layer is divided among the ranks")
    return choose_loss(model, spec.training, compute)
