"""Models that write text for us: what they are asked, what they answer, and where they may be."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from luthier.spec.data.augment import WriterSpec
from workers.failures import ConfigError


@dataclass(frozen=True)
class Request:
    """One question, asked by itself."""

    prompt: str
    seed: int
    """Of the draws of the answer, below 2^31."""


@dataclass(frozen=True)
class Reply:
    """The answer to a request."""

    text: str
    num_tokens: int
    """Of question and answer."""
    is_whole: bool = True
    """Whether it came to an end by itself."""


class Writer(Protocol):
    """A model that answers."""

    @property
    def answers_one_by_one(self) -> bool:
        """Whether an answer has nothing to do with what else is asked at the time."""

    def write(self, requests: Sequence[Request]) -> Iterator[Reply]:
        """The answer to each request, in order, each as soon as it is there.

        Raises:
            ConfigError: the model or the endpoint cannot be used like this.
            DependencyError: the endpoint does not answer, however often it is asked.
        """


@dataclass(frozen=True)
class Writers:
    """Where a job's model is to be had, and where its answers are kept."""

    open: Callable[[WriterSpec], Writer]
    """Raises ConfigError where this worker may not use it."""
    replies: Path | None = None
    """File for the answers, which may hold those of an earlier try. None: they are forgotten when rows are made."""
    keep: Callable[[], None] = lambda: None
    """Called now and then, and at the end, to bring `replies` to safety."""


def _none(spec: WriterSpec) -> Writer:
    raise ConfigError(f"data.augment.writer: there is no model here that could be asked, so not {spec.model!r} either")


NO_WRITERS = Writers(_none)
"""Of whoever has no models to offer."""
