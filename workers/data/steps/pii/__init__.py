"""Step `pii`: personal data and secrets are counted, replaced, or a reason to drop a row.

Most rows have none, which one look at all texts of a batch says (`recognisers.py`). What a text holds is found by one
module for each family of kinds, names of people by a model (`names.py`). A text that is JSON stays JSON
(`json_text.py`). Neither reports nor logs show what was found (`replacing.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from luthier.settings import WorkerSettings
from luthier.spec import DataSpec
from luthier.spec.data.pii import PiiSpec
from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Repair, Row
from workers.data.steps.pii.json_text import pieces_of, with_pieces
from workers.data.steps.pii.recognisers import Recognisers
from workers.data.steps.pii.replacing import Replace, label, masked, pseudonyms, replaced
from workers.data.steps.pii.spans import Span, apart
from workers.data.texts import change_texts, texts_of
from workers.failures import ConfigError

if TYPE_CHECKING:
    from workers.data.steps.pii.names import Names


def build(spec: DataSpec) -> "Pii | None":
    """The step, or None where `data.pii` is off.

    Raises:
        ConfigError: the job asks for pseudonyms without a key, for a region that there is not, or for a model that
            cannot be used.
    """
    if spec.pii is None or spec.pii.action == "off":
        return None
    return Pii(spec.pii, Recognisers(spec.pii), replacement_of(spec.pii), _names(spec.pii.names_model))


def _names(folder: str | None) -> "Names | None":
    if folder is None:
        return None
    from workers.data.steps.pii.names import Names  # here: transformers and torch take seconds, in every process

    return Names(folder)


@dataclass(frozen=True)
class _Seen:
    """A text that may hold something."""

    text: str
    pieces: list[str]
    spans: list[list[Span]]
    """Of each piece."""

    def values(self) -> Iterator[tuple[str, str]]:
        """Kind and value of everything that was found."""
        for piece, spans in zip(self.pieces, self.spans, strict=True):
            for span in spans:
                yield span.kind, piece[span.start : span.end]

    def without(self, replace: Replace) -> str:
        """The text with something else in place of everything that was found."""
        pieces = [replaced(piece, spans, replace) for piece, spans in zip(self.pieces, self.spans, strict=True)]
        return with_pieces(self.text, pieces)


class Pii:
    """A `RowStep`."""

    def __init__(self, spec: PiiSpec, recognisers: Recognisers, replace: Replace, names: "Names | None") -> None:
        self._action = spec.action
        self._recognisers = recognisers
        self._replace = replace
        self._names = names

    def __call__(self, rows: Sequence[Row]) -> None:
        """Looks at every text of every row."""
        texts = [texts_of(row) for row in rows]
        flat = [text for own in texts for text in own]
        seen = self._look(flat)
        start = 0
        for row, own in zip(rows, texts, strict=True):
            found = [seen[index] for index in range(start, start + len(own)) if index in seen]
            values = [value for one in found for value in one.values()]
            if values:
                self._act(row, values, [seen.get(index, flat[index]) for index in range(start, start + len(own))])
            start += len(own)

    def _look(self, texts: Sequence[str]) -> dict[int, _Seen]:
        """By index, the texts that may hold something."""
        suspects = range(len(texts)) if self._names is not None else self._recognisers.suspects(texts)
        seen = {index: self._seen(texts[index]) for index in suspects}
        if self._names is not None:
            people = iter(self._names.find([piece for one in seen.values() for piece in one.pieces]))
            for one in seen.values():
                for spans, named in zip(one.spans, islice(people, len(one.pieces)), strict=True):
                    spans[:] = apart([*spans, *named])
        return seen

    def _seen(self, text: str) -> _Seen:
        pieces = pieces_of(text)
        if len(pieces) == 1:
            return _Seen(text, pieces, [self._recognisers.find(pieces[0])])
        secrets = set(self._recognisers.assigned(text))
        spans = [
            [Span(0, len(piece), "secret")] if piece in secrets else self._recognisers.find(piece) for piece in pieces
        ]
        return _Seen(text, pieces, spans)

    def _act(self, row: Row, values: Sequence[tuple[str, str]], texts: Sequence[_Seen | str]) -> None:
        first = dict(reversed(values))
        # What earlier steps quote of the row may be what is to stay hidden.
        row.repairs = [one._replace(detail="not shown: the row holds personal data") for one in row.repairs]
        if self._action == "drop":
            detail = ", ".join(f"{kind} {masked(value)}" for kind, value in first.items())
            row.error = RowError(problems.PERSONAL_DATA, detail)
            return
        done = "redacted" if self._action == "redact" else "found"
        for kind, value in first.items():
            count = sum(other == kind for other, _ in values)
            row.repairs.append(Repair(f"{kind} {done}", f"{count}, the first is {masked(value)}"))
        if self._action == "redact":
            others = iter(text if isinstance(text, str) else text.without(self._replace) for text in texts)
            change_texts(row, lambda _: next(others))


def replacement_of(spec: PiiSpec) -> Replace:
    """What is written in place of personal data.

    Raises:
        ConfigError: the job asks for pseudonyms, and the worker has no key.
    """
    if spec.replacement == "label":
        return label
    key = WorkerSettings().pseudonym_key.get_secret_value().encode()
    if not 16 <= len(key) <= 64:
        raise ConfigError(
            "data.pii.replacement: pseudonym needs a secret key of 16 to 64 bytes; set LUTHIER_PSEUDONYM_KEY of the "
            "worker, or take replacement: label"
        )
    return pseudonyms(key)
