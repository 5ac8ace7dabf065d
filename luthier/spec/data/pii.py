"""`data.pii`: personal data and secrets in the rows, and what becomes of them."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from luthier.spec.base import Section

PiiKind = Literal[
    "secret",
    "url_credentials",
    "email",
    "iban",
    "crypto_address",
    "card",
    "national_id",
    "phone",
    "ip",
]
_KINDS: list[PiiKind] = list(get_args(PiiKind))

Region = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""


class PiiSpec(Section):
    """Personal data and secrets in the texts of a row: messages, arguments of tools, rejected answers."""

    action: Literal["off", "report", "redact", "drop"]
    """`report` counts the rows that hold any, `redact` puts something else in its place, `drop` leaves such rows out;
    `off` is as if there were no section."""
    kinds: list[PiiKind] = Field(default=_KINDS, min_length=1)
    """What is looked for. `secret`: API keys, tokens, private keys; `card`, `iban` and `national_id` by their check
    digits; `ip`: public addresses."""
    regions: list[Region] = Field(default=["US"])
    """Countries whose phone numbers are recognised without a leading +, and whose national ids are, where they are
    plain digits."""
    replacement: Literal["label", "pseudonym"] = "label"
    """What `redact` writes: `<EMAIL>`; or `<EMAIL_5F0C2A91B3D4>`, the same for the same address in the whole dataset,
    by the secret key of the worker."""
    names: Literal["off", "model"] = "off"
    """Whether names of people are looked for, by `names_model`."""
    names_model: str | None = Field(default=None, min_length=1)
    """Folder of a token classifier of transformers (safetensors) that marks people as PER or PERSON. A relative path is
    relative to the job file."""

    @model_validator(mode="after")
    def _settings_have_a_use(self) -> Self:
        if self.action in ("report", "drop") and self.replacement != "label":
            raise ValueError("replacement has no use without action: redact; leave it out")
        if self.names == "model" and self.names_model is None:
            raise ValueError(
                "names: model needs names_model: a folder with a token classifier of transformers that marks PER or "
                "PERSON; none comes with Luthier"
            )
        if self.names == "off" and self.names_model is not None:
            raise ValueError("names_model has no use without names: model; leave it out")
        return self
