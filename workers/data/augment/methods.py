"""The methods of `data.augment` by name. A new one is one module, one name in `AugmentMethod` and one row here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luthier.spec.data.augment import AugmentMethod, AugmentSpec
from workers.data.augment.by_model import BackTranslation, Paraphrase, Synthetic
from workers.data.augment.origin import Method
from workers.data.augment.remembering import RememberingWriter
from workers.data.augment.synonyms import Synonyms
from workers.data.augment.thesaurus import Thesaurus
from workers.data.augment.typos import Typos
from workers.data.places import CheckReadable


@dataclass(frozen=True)
class Tools:
    """What methods work with beside rows."""

    check_readable: CheckReadable
    writer: RememberingWriter | None
    """None: no method of the job needs one."""

    def thesaurus(self, path: str) -> Thesaurus:
        """The one at `path`.

        Raises:
            ConfigError: it may not be read, or is none.
        """
        self.check_readable(path, "data.augment.thesaurus")
        return Thesaurus.read(Path(path))

    def required_writer(self) -> RememberingWriter:
        """The model, which the job file names for every method that needs it."""
        assert self.writer is not None, "the spec refuses such methods without a writer"
        return self.writer


METHODS: dict[AugmentMethod, Callable[[AugmentSpec, Tools], Method]] = {
    "typos": lambda spec, tools: Typos(spec),
    "synonyms": lambda spec, tools: Synonyms(spec, tools.thesaurus(spec.thesaurus or "")),
    "paraphrase": lambda spec, tools: Paraphrase(tools.required_writer()),
    "back_translation": lambda spec, tools: BackTranslation(tools.required_writer(), spec.pivot_language),
    "synthetic": lambda spec, tools: Synthetic(tools.required_writer()),
}


def methods_of(spec: AugmentSpec, tools: Tools) -> dict[AugmentMethod, Method]:
    """Those of a job, in the order of its file.

    Raises:
        ConfigError: one of them cannot work.
    """
    return {name: METHODS[name](spec, tools) for name in spec.methods}
