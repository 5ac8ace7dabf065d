"""`deploy`: loading the exported model into Triton."""

from pydantic import Field

from luthier.spec.base import Section


class DeploySpec(Section):
    """One deployment; leave the section out to stop after the export."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Name of the deployment. Absent: the job's name."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """Longest answer when a request does not say."""
    validation_prompt: str = "Hello"
    """Sent once after loading; the deployment is ACTIVE when tokens come back."""
    timeout_seconds: float = Field(default=300.0, gt=0)
    """How long loading and the validation request may take."""
