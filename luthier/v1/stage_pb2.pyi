import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from luthier.v1 import failure_pb2 as _failure_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(_message.Message):
    __slots__ = ("stage_id", "job_id", "name", "kind", "worker_class", "state", "needs", "attempt", "fence", "worker_id", "queued_time", "started_time", "finished_time", "progress", "failure", "outputs", "refit", "pause_requested", "member_ids")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Stage.State]
        STATE_PENDING: _ClassVar[Stage.State]
        STATE_QUEUED: _ClassVar[Stage.State]
        STATE_RUNNING: _ClassVar[Stage.State]
        STATE_SUCCEEDED: _ClassVar[Stage.State]
        STATE_FAILED: _ClassVar[Stage.State]
        STATE_CANCELLED: _ClassVar[Stage.State]
        STATE_SKIPPED: _ClassVar[Stage.State]
        STATE_PAUSED: _ClassVar[Stage.State]
    STATE_UNSPECIFIED: Stage.State
    STATE_PENDING: Stage.State
    STATE_QUEUED: Stage.State
    STATE_RUNNING: Stage.State
    STATE_SUCCEEDED: Stage.State
    STATE_FAILED: Stage.State
    STATE_CANCELLED: Stage.State
    STATE_SKIPPED: Stage.State
    STATE_PAUSED: Stage.State
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WORKER_CLASS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TIME_FIELD_NUMBER: _ClassVar[int]
    STARTED_TIME_FIELD_NUMBER: _ClassVar[int]
    FINISHED_TIME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    REFIT_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    MEMBER_IDS_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    job_id: str
    name: str
    kind: str
    worker_class: str
    state: Stage.State
    needs: _containers.RepeatedScalarFieldContainer[str]
    attempt: int
    fence: int
    worker_id: str
    queued_time: _timestamp_pb2.Timestamp
    started_time: _timestamp_pb2.Timestamp
    finished_time: _timestamp_pb2.Timestamp
    progress: Progress
    failure: _failure_pb2.Failure
    outputs: StageOutputs
    refit: int
    pause_requested: bool
    member_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stage_id: _Optional[str] = ..., job_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., worker_class: _Optional[str] = ..., state: _Optional[_Union[Stage.State, str]] = ..., needs: _Optional[_Iterable[str]] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ..., worker_id: _Optional[str] = ..., queued_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finished_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., outputs: _Optional[_Union[StageOutputs, _Mapping]] = ..., refit: _Optional[int] = ..., pause_requested: _Optional[bool] = ..., member_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "num_steps", "message", "eta")
    STEP_FIELD_NUMBER: _ClassVar[int]
    NUM_STEPS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ETA_FIELD_NUMBER: _ClassVar[int]
    step: int
    num_steps: int
    message: str
    eta: _duration_pb2.Duration
    def __init__(self, step: _Optional[int] = ..., num_steps: _Optional[int] = ..., message: _Optional[str] = ..., eta: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StageOutputs(_message.Message):
    __slots__ = ("artifact", "metrics", "result_json", "gate_passed", "gate_reason")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    GATE_PASSED_FIELD_NUMBER: _ClassVar[int]
    GATE_REASON_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    metrics: _containers.ScalarMap[str, float]
    result_json: str
    gate_passed: bool
    gate_reason: str
    def __init__(self, artifact: _Optional[_Union[Artifact, _Mapping]] = ..., metrics: _Optional[_Mapping[str, float]] = ..., result_json: _Optional[str] = ..., gate_passed: _Optional[bool] = ..., gate_reason: _Optional[str] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("uri", "digest", "num_bytes")
    URI_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    uri: str
    digest: str
    num_bytes: int
    def __init__(self, uri: _Optional[str] = ..., digest: _Optional[str] = ..., num_bytes: _Optional[int] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("uri", "digest", "step", "attempt", "fence")
    URI_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    uri: str
    digest: str
    step: int
    attempt: int
    fence: int
    def __init__(self, uri: _Optional[str] = ..., digest: _Optional[str] = ..., step: _Optional[int] = ..., attempt: _Optional[int] = ..., fence: _Optional[int] = ...) -> None: ...

class MetricPoint(_message.Message):
    __slots__ = ("step", "time", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    step: int
    time: _timestamp_pb2.Timestamp
    values: _containers.ScalarMap[str, float]
    def __init__(self, step: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., values: _Optional[_Mapping[str, float]] = ...) -> None: ...
