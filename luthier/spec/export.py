"""`export`: the formats, and the proof that the exported model answers as the trained one."""

from typing import Literal

from pydantic import Field

from luthier.spec.base import Section

ExportFormat = Literal["peft", "adapter", "merged", "triton"]


class ParitySpec(Section):
    """Held-out prompts go through the trained and the exported model."""

    num_prompts: int = Field(default=16, ge=1)
    """Prompts compared, from the test split (validation when there is none)."""
    max_new_tokens: int = Field(default=64, ge=1, le=4096)
    """Tokens generated greedily per prompt."""
    min_greedy_agreement: float = Field(default=0.95, ge=0.0, le=1.0)
    """Part of the trained model's greedy tokens that the exported one must find likeliest too, given what precedes."""


class ExportSpec(Section):
    """What is written. `merged` is the whole model; Triton needs it."""

    formats: list[ExportFormat] = Field(default=["peft", "adapter", "merged", "triton"], min_length=1)
    """Directories of the exported artifact. Absent: all that the method allows. Without an adapter
    (`method.type: full`) there is no `peft`; `adapter` is for adapters that PEFT does not know."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the merged weights; the merge itself is done in float32."""
    parity: ParitySpec = ParitySpec()
    """The parity proof; below its tolerance the export fails."""
