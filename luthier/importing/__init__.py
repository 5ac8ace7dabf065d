"""Descriptions of datasets that other tools have, as a `data` section of ours. One module per tool.

Nothing of a description is dropped in silence: what would be learned otherwise is refused, what the user has to know or
decide is listed.
"""

from luthier.importing.files import import_datasets
from luthier.importing.imported import Imported

__all__ = ["Imported", "import_datasets"]
