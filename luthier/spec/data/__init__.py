"""`data`: what to train on, and how rows become tokens. One module per sub-section."""

from luthier.spec.data.clean import CleanSpec, RepairSpec
from luthier.spec.data.curriculum import CurriculumSpec
from luthier.spec.data.decontaminate import DecontaminateSpec
from luthier.spec.data.deduplicate import DeduplicateSpec, NearSpec
from luthier.spec.data.engine import Engine
from luthier.spec.data.filters import FiltersSpec
from luthier.spec.data.mapping import RowFormat
from luthier.spec.data.mixture import FileType, MixingSpec, Overlong, SourceSpec
from luthier.spec.data.quality import QualitySpec
from luthier.spec.data.section import DataSpec
from luthier.spec.data.split import SplitSpec

__all__ = [
    "CleanSpec",
    "CurriculumSpec",
    "DataSpec",
    "DecontaminateSpec",
    "DeduplicateSpec",
    "Engine",
    "FileType",
    "FiltersSpec",
    "MixingSpec",
    "NearSpec",
    "Overlong",
    "QualitySpec",
    "RepairSpec",
    "RowFormat",
    "SourceSpec",
    "SplitSpec",
]
