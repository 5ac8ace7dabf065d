"""QLoRA: LoRA beside a frozen base in 4 bits (Dettmers et al., 2023, arXiv:2305.14314).

A weight is one of the 16 values of NF4 times the scale of its block of 64; matrix products read it back in the compute
dtype. Only training does so. Evaluation and export put the adapter beside the base model as it is published, and the
merged model is that base plus the update: so the figures are of the model that gets used, and the small error that the
adapter learned around is not in it.
"""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from luthier.spec import QloraSpec
from workers.training.attention import register
from workers.training.methods.base import Control
from workers.training.methods.lora import add_lora, control_lora


def load_in_4_bits(folder: Path, dtype: torch.dtype, device: torch.device, spec: QloraSpec) -> PreTrainedModel:
    """The base model with its linear layers, but the output layer, in NF4, and the rest in `dtype`."""
    quantisation = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=spec.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        quantization_config=quantisation,
        device_map={"": device},
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            # Else a pass without gradients, such as a validation, would round the scales to bf16 for good.
            part.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    model.set_attn_implementation(register())
    return model


def add_to_quantised(model: PreTrainedModel, spec: QloraSpec) -> PeftModel:
    """Freezes `model` and adds the low-rank updates in fp32.

    Raises:
        ConfigError: see `add_lora`.
    """
    return add_lora(model, spec.as_lora())


def control_qlora(model: PeftModel, spec: QloraSpec, num_steps: int) -> Control:
    """As with LoRA."""
    return control_lora(model, spec.as_lora(), num_steps)
