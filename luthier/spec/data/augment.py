"""`data.augment`: more training rows where there are few. They are marked, and never in validation or test."""

from typing import Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section

AugmentMethod = Literal["typos", "synonyms", "paraphrase", "back_translation", "synthetic"]
_BY_MODEL: tuple[AugmentMethod, ...] = ("paraphrase", "back_translation", "synthetic")


class WriterSpec(Section):
    """The model that writes rows: one on the worker, or one behind an OpenAI-compatible endpoint."""

    model: str = Field(min_length=1)
    """As `base_model`, or `base` for the job's own; with `endpoint`, the name that the endpoint knows it by."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s?#@]+$")
    """Base URL, such as `http://127.0.0.1:8000/v1`. The worker's LUTHIER_WRITER_ENDPOINTS must list it, and has its
    key in LUTHIER_WRITER_KEYS. Absent: the model runs on the worker."""
    temperature: float = Field(default=0.8, ge=0.0, le=2.0)
    """0 takes the likeliest token each time."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """Of one answer; one that is cut off is refused."""
    max_requests: int = Field(default=1000, ge=1, le=1_000_000)
    """No row is asked for once so many requests were made."""
    max_total_tokens: int = Field(default=1_000_000, ge=1)
    """No row is asked for once questions and answers have so many tokens. Requests under way are finished."""
    concurrency: int = Field(default=4, ge=1, le=16)
    """Requests to an endpoint at a time."""
    timeout_seconds: float = Field(default=60.0, gt=0.0, le=600.0)
    """Longest silence of an endpoint during one request."""
    max_tries: int = Field(default=5, ge=1, le=10)
    """Of a request to an endpoint that does not answer, or answers that it is busy or broken."""

    @model_validator(mode="after")
    def _every_setting_is_read(self) -> Self:
        if self.endpoint is None:
            for name in ("concurrency", "timeout_seconds", "max_tries"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} has no use without endpoint; leave it out")
        return self


class AugmentSpec(Section):
    """Rows made of training rows until there are `min_samples`. In turn each method makes one of a row."""

    min_samples: int = Field(ge=1, le=1_000_000)
    """Training rows that are wanted, counted before the limit of `max_length`. Nothing is done if there are as many."""
    methods: list[AugmentMethod] = Field(min_length=1)
    """`typos`: slips of the keyboard. `synonyms`: words of the same meaning. `paraphrase`: the same said otherwise, by
    a model. `back_translation`: through another language and back, by a model. `synthetic`: a new row like some that
    are there, by a model."""
    max_copies: int = Field(default=4, ge=1, le=100)
    """Rows made of one row, at most."""
    answers: bool = False
    """Also change what is learned: answers of the assistant, and text that is trained on as a whole. By `typos` and
    `synonyms` only."""
    typo_rate: float = Field(default=0.05, gt=0.0, le=1.0)
    """Part of the words that get a typo; at least one does."""
    synonym_rate: float = Field(default=0.15, gt=0.0, le=1.0)
    """Part of the words with a synonym that are replaced; at least one is."""
    thesaurus: str | None = Field(default=None, min_length=1)
    """Thesaurus file in the MyThes format of LibreOffice and Debian (`th_en_US_v2.dat`), for `synonyms`."""
    pivot_language: str = Field(default="German", pattern=r"^[A-Za-z ]{2,40}$")
    """Language that `back_translation` goes through, by its English name."""
    writer: WriterSpec | None = None
    """Model for `paraphrase`, `back_translation` and `synthetic`."""

    @property
    def needs_writer(self) -> bool:
        """Whether a model writes rows."""
        return any(name in _BY_MODEL for name in self.methods)

    @model_validator(mode="after")
    def _methods_have_what_they_need(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods has one of them twice; name each once")
        if self.needs_writer and self.writer is None:
            raise ValueError("methods that a model does need writer; name its model, or leave these methods out")
        if "synonyms" in self.methods and self.thesaurus is None:
            raise ValueError("methods has synonyms, which need thesaurus: the path of a MyThes .dat file")
        return self

    @model_validator(mode="after")
    def _every_setting_is_read(self) -> Self:
        users: dict[str, tuple[AugmentMethod, ...]] = {
            "typo_rate": ("typos",),
            "synonym_rate": ("synonyms",),
            "thesaurus": ("synonyms",),
            "pivot_language": ("back_translation",),
            "writer": _BY_MODEL,
            "answers": ("typos", "synonyms"),
        }
        for name, methods in users.items():
            is_set = getattr(self, name) != type(self).model_fields[name].default
            if is_set and not set(methods) & set(self.methods):
                raise ValueError(f"{name} has no use without {' or '.join(methods)} in methods; leave it out")
        return self
