"""`data`: what to train on, and how rows become tokens. One module per sub-section."""

from luthier.spec.data.mixture import FileType, MixingSpec, Overlong, RowFormat, SourceSpec
from luthier.spec.data.section import DataSpec

__all__ = ["DataSpec", "FileType", "MixingSpec", "Overlong", "RowFormat", "SourceSpec"]
