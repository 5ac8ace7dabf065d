"""The job file: one module per section, strict, with a suggestion for every misspelt key."""

from luthier.spec.data import DataSpec, MixingSpec, SourceSpec
from luthier.spec.deploy import DeploySpec
from luthier.spec.evaluation import EvaluationSpec, GateRule
from luthier.spec.export import ExportSpec, ParitySpec
from luthier.spec.job import JobSpec
from luthier.spec.load import canonical_json, json_schema, load_job_file, parse_spec
from luthier.spec.merge import AdapterSource, MergeSpec
from luthier.spec.method import (
    AdaloraSpec,
    BottleneckSpec,
    CustomSpec,
    FreezeSpec,
    FullSpec,
    HftSpec,
    Ia3Spec,
    LoraSpec,
    MethodSpec,
    OftSpec,
    PrefixTuningSpec,
    PromptTuningSpec,
    QloraSpec,
    SpielSpec,
    XloraSpec,
)
from luthier.spec.objective import (
    ClassificationSpec,
    DistillationSpec,
    DpoSpec,
    GrpoSpec,
    IpoSpec,
    KtoSpec,
    ObjectiveSpec,
    OrpoSpec,
    PretrainSpec,
    RewardSpec,
    SftSpec,
    SimpoSpec,
)
from luthier.spec.paths import resolve_paths
from luthier.spec.resources import ResourcesSpec
from luthier.spec.training import TrainingSpec

__all__ = [
    "AdaloraSpec",
    "AdapterSource",
    "BottleneckSpec",
    "ClassificationSpec",
    "CustomSpec",
    "DataSpec",
    "DeploySpec",
    "DistillationSpec",
    "DpoSpec",
    "EvaluationSpec",
    "ExportSpec",
    "FreezeSpec",
    "FullSpec",
    "GateRule",
    "GrpoSpec",
    "HftSpec",
    "Ia3Spec",
    "IpoSpec",
    "JobSpec",
    "KtoSpec",
    "LoraSpec",
    "MergeSpec",
    "MethodSpec",
    "MixingSpec",
    "ObjectiveSpec",
    "OftSpec",
    "OrpoSpec",
    "ParitySpec",
    "PrefixTuningSpec",
    "PretrainSpec",
    "PromptTuningSpec",
    "QloraSpec",
    "ResourcesSpec",
    "RewardSpec",
    "SftSpec",
    "SimpoSpec",
    "SourceSpec",
    "SpielSpec",
    "TrainingSpec",
    "XloraSpec",
    "canonical_json",
    "json_schema",
    "load_job_file",
    "parse_spec",
    "resolve_paths",
]
