"""More training rows: repeated to balance classes, or made of those that are there.

Reading order: `adding.py` (what is wanted), `making.py` (passes over the rows), `origin.py` and `methods.py` (a row in,
a row out), then a method each: `typos.py`, `synonyms.py`, `by_model.py`, of which none changes what `protect.py` finds.
`seen.py` refuses what is there already or like a row that is held out. Models write behind `writer.py`, and are not
asked twice (`remembering.py`), not even by a later try of the stage (`checkpoints.py`).
"""

from workers.data.augment.adding import add_rows
from workers.data.augment.checkpoints import writers_of
from workers.data.augment.open_writer import open_writer
from workers.data.augment.writer import NO_WRITERS, Writers

__all__ = ["NO_WRITERS", "Writers", "add_rows", "open_writer", "writers_of"]
