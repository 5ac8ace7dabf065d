import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from luthier.v1 import failure_pb2 as _failure_pb2
from luthier.v1 import stage_pb2 as _stage_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("event_id", "sequence", "project_id", "job_id", "time", "traceparent", "job_created", "job_started", "job_succeeded", "job_failed", "job_cancelled", "job_pause_requested", "job_paused", "job_resumed", "stage_queued", "stage_started", "stage_succeeded", "stage_failed", "stage_skipped", "stage_cancelled", "stage_retried", "checkpoint_committed", "metrics_reported", "stage_paused", "model_registered", "deployment_activated", "deployment_failed")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    JOB_CREATED_FIELD_NUMBER: _ClassVar[int]
    JOB_STARTED_FIELD_NUMBER: _ClassVar[int]
    JOB_SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    JOB_FAILED_FIELD_NUMBER: _ClassVar[int]
    JOB_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    JOB_PAUSE_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    JOB_PAUSED_FIELD_NUMBER: _ClassVar[int]
    JOB_RESUMED_FIELD_NUMBER: _ClassVar[int]
    STAGE_QUEUED_FIELD_NUMBER: _ClassVar[int]
    STAGE_STARTED_FIELD_NUMBER: _ClassVar[int]
    STAGE_SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    STAGE_FAILED_FIELD_NUMBER: _ClassVar[int]
    STAGE_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    STAGE_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    STAGE_RETRIED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    METRICS_REPORTED_FIELD_NUMBER: _ClassVar[int]
    STAGE_PAUSED_FIELD_NUMBER: _ClassVar[int]
    MODEL_REGISTERED_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ACTIVATED_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FAILED_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    sequence: int
    project_id: str
    job_id: str
    time: _timestamp_pb2.Timestamp
    traceparent: str
    job_created: JobCreated
    job_started: JobStarted
    job_succeeded: JobSucceeded
    job_failed: JobFailed
    job_cancelled: JobCancelled
    job_pause_requested: JobPauseRequested
    job_paused: JobPaused
    job_resumed: JobResumed
    stage_queued: StageQueued
    stage_started: StageStarted
    stage_succeeded: StageSucceeded
    stage_failed: StageFailed
    stage_skipped: StageSkipped
    stage_cancelled: StageCancelled
    stage_retried: StageRetried
    checkpoint_committed: CheckpointCommitted
    metrics_reported: MetricsReported
    stage_paused: StagePaused
    model_registered: ModelRegistered
    deployment_activated: DeploymentActivated
    deployment_failed: DeploymentFailed
    def __init__(self, event_id: _Optional[str] = ..., sequence: _Optional[int] = ..., project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traceparent: _Optional[str] = ..., job_created: _Optional[_Union[JobCreated, _Mapping]] = ..., job_started: _Optional[_Union[JobStarted, _Mapping]] = ..., job_succeeded: _Optional[_Union[JobSucceeded, _Mapping]] = ..., job_failed: _Optional[_Union[JobFailed, _Mapping]] = ..., job_cancelled: _Optional[_Union[JobCancelled, _Mapping]] = ..., job_pause_requested: _Optional[_Union[JobPauseRequested, _Mapping]] = ..., job_paused: _Optional[_Union[JobPaused, _Mapping]] = ..., job_resumed: _Optional[_Union[JobResumed, _Mapping]] = ..., stage_queued: _Optional[_Union[StageQueued, _Mapping]] = ..., stage_started: _Optional[_Union[StageStarted, _Mapping]] = ..., stage_succeeded: _Optional[_Union[StageSucceeded, _Mapping]] = ..., stage_failed: _Optional[_Union[StageFailed, _Mapping]] = ..., stage_skipped: _Optional[_Union[StageSkipped, _Mapping]] = ..., stage_cancelled: _Optional[_Union[StageCancelled, _Mapping]] = ..., stage_retried: _Optional[_Union[StageRetried, _Mapping]] = ..., checkpoint_committed: _Optional[_Union[CheckpointCommitted, _Mapping]] = ..., metrics_reported: _Optional[_Union[MetricsReported, _Mapping]] = ..., stage_paused: _Optional[_Union[StagePaused, _Mapping]] = ..., model_registered: _Optional[_Union[ModelRegistered, _Mapping]] = ..., deployment_activated: _Optional[_Union[DeploymentActivated, _Mapping]] = ..., deployment_failed: _Optional[_Union[DeploymentFailed, _Mapping]] = ...) -> None: ...

class JobCreated(_message.Message):
    __slots__ = ("name", "stage_names", "warnings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAMES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    stage_names: _containers.RepeatedScalarFieldContainer[str]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., stage_names: _Optional[_Iterable[str]] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class JobStarted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobSucceeded(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobFailed(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: _failure_pb2.Failure
    def __init__(self, failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class JobCancelled(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobPauseRequested(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobPaused(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JobResumed(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StageQueued(_message.Message):
    __slots__ = ("stage_id", "stage_name")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ...) -> None: ...

class StageStarted(_message.Message):
    __slots__ = ("stage_id", "stage_name", "worker_id", "attempt", "fence")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    worker_id: str
    attempt: int
    fence: int
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., worker_id: _Optional[str] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ...) -> None: ...

class StageSucceeded(_message.Message):
    __slots__ = ("stage_id", "stage_name", "attempt", "outputs")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    attempt: int
    outputs: _stage_pb2.StageOutputs
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., attempt: _Optional[int] = ..., outputs: _Optional[_Union[_stage_pb2.StageOutputs, _Mapping]] = ...) -> None: ...

class StageFailed(_message.Message):
    __slots__ = ("stage_id", "stage_name", "attempt", "failure")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    attempt: int
    failure: _failure_pb2.Failure
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., attempt: _Optional[int] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class StageSkipped(_message.Message):
    __slots__ = ("stage_id", "stage_name", "reason")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    reason: str
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class StageCancelled(_message.Message):
    __slots__ = ("stage_id", "stage_name")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ...) -> None: ...

class StageRetried(_message.Message):
    __slots__ = ("stage_id", "stage_name", "attempt", "failure", "refit")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REFIT_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    attempt: int
    failure: _failure_pb2.Failure
    refit: int
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., attempt: _Optional[int] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., refit: _Optional[int] = ...) -> None: ...

class StagePaused(_message.Message):
    __slots__ = ("stage_id", "stage_name", "attempt")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    attempt: int
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class CheckpointCommitted(_message.Message):
    __slots__ = ("stage_id", "stage_name", "checkpoint")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    checkpoint: _stage_pb2.Checkpoint
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., checkpoint: _Optional[_Union[_stage_pb2.Checkpoint, _Mapping]] = ...) -> None: ...

class MetricsReported(_message.Message):
    __slots__ = ("stage_id", "stage_name", "attempt", "points")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    stage_name: str
    attempt: int
    points: _containers.RepeatedCompositeFieldContainer[_stage_pb2.MetricPoint]
    def __init__(self, stage_id: _Optional[str] = ..., stage_name: _Optional[str] = ..., attempt: _Optional[int] = ..., points: _Optional[_Iterable[_Union[_stage_pb2.MetricPoint, _Mapping]]] = ...) -> None: ...

class ModelRegistered(_message.Message):
    __slots__ = ("model_id", "name", "dataset_version")
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATASET_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_id: str
    name: str
    dataset_version: str
    def __init__(self, model_id: _Optional[str] = ..., name: _Optional[str] = ..., dataset_version: _Optional[str] = ...) -> None: ...

class DeploymentActivated(_message.Message):
    __slots__ = ("deployment_id", "model_id", "triton_model")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    TRITON_MODEL_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    model_id: str
    triton_model: str
    def __init__(self, deployment_id: _Optional[str] = ..., model_id: _Optional[str] = ..., triton_model: _Optional[str] = ...) -> None: ...

class DeploymentFailed(_message.Message):
    __slots__ = ("deployment_id", "failure")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    failure: _failure_pb2.Failure
    def __init__(self, deployment_id: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class StageReady(_message.Message):
    __slots__ = ("stage_id", "job_id", "project_id")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    job_id: str
    project_id: str
    def __init__(self, stage_id: _Optional[str] = ..., job_id: _Optional[str] = ..., project_id: _Optional[str] = ...) -> None: ...
