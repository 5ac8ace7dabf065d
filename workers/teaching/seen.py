"""Which conversations are in the dataset already: a teacher may give two rows one answer, or the one in a test row."""

from dataclasses import dataclass

from workers.data import problems
from workers.data.dataset import Example, SplitName
from workers.data.lineage.fingerprint import fingerprint
from workers.data.problems import Fault
from workers.data.row import Message, Notes


@dataclass(frozen=True)
class _Owner:
    split: SplitName
    source: str
    row: int
    sample: int


class Seen:
    """Conversations by their fingerprints, 16 bytes each, and the row that has each. Later splits come first."""

    def __init__(self, *, deduplicate: bool) -> None:
        """`deduplicate`: whether a split may have the same one but once."""
        self._deduplicate = deduplicate
        self._owners: dict[bytes, _Owner] = {}

    def fault(self, split: SplitName, row: Example, sample: int, messages: list[Message]) -> Fault | None:
        """Why the row cannot have this conversation as its answer `sample`; None: it can, and has it from now on.

        A row that a mixture repeats has it every time.
        """
        own = _Owner(split, row.source, row.row, sample)
        owner = self._owners.setdefault(fingerprint(messages, notes=Notes(tools=row.tools)), own)
        detail = f"same text as {owner.source} row {owner.row}"
        if owner.split != split:
            return Fault(row.source, row.row, problems.IN_OTHER_SPLIT, detail)
        if owner != own and self._deduplicate:
            return Fault(row.source, row.row, problems.DUPLICATE, detail)
        return None
