import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from luthier.v1 import failure_pb2 as _failure_pb2
from luthier.v1 import stage_pb2 as _stage_pb2
from luthier.v1 import worker_pb2 as _worker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisterWorkerRequest(_message.Message):
    __slots__ = ("worker_id", "display_name", "capabilities", "instance_id")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    display_name: str
    capabilities: _worker_pb2.WorkerCapabilities
    instance_id: str
    def __init__(self, worker_id: _Optional[str] = ..., display_name: _Optional[str] = ..., capabilities: _Optional[_Union[_worker_pb2.WorkerCapabilities, _Mapping]] = ..., instance_id: _Optional[str] = ...) -> None: ...

class RegisterWorkerResponse(_message.Message):
    __slots__ = ("worker", "lease", "heartbeat_interval")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    worker: _worker_pb2.Worker
    lease: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, worker: _Optional[_Union[_worker_pb2.Worker, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ClaimStageRequest(_message.Message):
    __slots__ = ("stage_id", "worker_id", "request_id")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    worker_id: str
    request_id: str
    def __init__(self, stage_id: _Optional[str] = ..., worker_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ClaimStageResponse(_message.Message):
    __slots__ = ("assignment", "try_elsewhere")
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    TRY_ELSEWHERE_FIELD_NUMBER: _ClassVar[int]
    assignment: StageAssignment
    try_elsewhere: bool
    def __init__(self, assignment: _Optional[_Union[StageAssignment, _Mapping]] = ..., try_elsewhere: _Optional[bool] = ...) -> None: ...

class StageAssignment(_message.Message):
    __slots__ = ("stage", "project_id", "job_name", "spec_json", "inputs", "checkpoints", "output_uri", "traceparent", "model_id", "deployment_id", "gang")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _stage_pb2.StageOutputs
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_stage_pb2.StageOutputs, _Mapping]] = ...) -> None: ...
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_URI_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    GANG_FIELD_NUMBER: _ClassVar[int]
    stage: _stage_pb2.Stage
    project_id: str
    job_name: str
    spec_json: str
    inputs: _containers.MessageMap[str, _stage_pb2.StageOutputs]
    checkpoints: _containers.RepeatedCompositeFieldContainer[_stage_pb2.Checkpoint]
    output_uri: str
    traceparent: str
    model_id: str
    deployment_id: str
    gang: GangPlace
    def __init__(self, stage: _Optional[_Union[_stage_pb2.Stage, _Mapping]] = ..., project_id: _Optional[str] = ..., job_name: _Optional[str] = ..., spec_json: _Optional[str] = ..., inputs: _Optional[_Mapping[str, _stage_pb2.StageOutputs]] = ..., checkpoints: _Optional[_Iterable[_Union[_stage_pb2.Checkpoint, _Mapping]]] = ..., output_uri: _Optional[str] = ..., traceparent: _Optional[str] = ..., model_id: _Optional[str] = ..., deployment_id: _Optional[str] = ..., gang: _Optional[_Union[GangPlace, _Mapping]] = ...) -> None: ...

class GangPlace(_message.Message):
    __slots__ = ("number", "num_workers", "address")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    number: int
    num_workers: int
    address: str
    def __init__(self, number: _Optional[int] = ..., num_workers: _Optional[int] = ..., address: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("worker_id", "is_draining", "stages", "instance_id")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    IS_DRAINING_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    is_draining: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageHeartbeat]
    instance_id: str
    def __init__(self, worker_id: _Optional[str] = ..., is_draining: _Optional[bool] = ..., stages: _Optional[_Iterable[_Union[StageHeartbeat, _Mapping]]] = ..., instance_id: _Optional[str] = ...) -> None: ...

class StageHeartbeat(_message.Message):
    __slots__ = ("stage_id", "fence", "progress", "address")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    fence: int
    progress: _stage_pb2.Progress
    address: str
    def __init__(self, stage_id: _Optional[str] = ..., fence: _Optional[int] = ..., progress: _Optional[_Union[_stage_pb2.Progress, _Mapping]] = ..., address: _Optional[str] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("verdicts",)
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[StageVerdict]
    def __init__(self, verdicts: _Optional[_Iterable[_Union[StageVerdict, _Mapping]]] = ...) -> None: ...

class StageVerdict(_message.Message):
    __slots__ = ("stage_id", "verdict", "lease_until", "gang")
    class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VERDICT_UNSPECIFIED: _ClassVar[StageVerdict.Verdict]
        VERDICT_OK: _ClassVar[StageVerdict.Verdict]
        VERDICT_CANCEL: _ClassVar[StageVerdict.Verdict]
        VERDICT_LOST_LEASE: _ClassVar[StageVerdict.Verdict]
        VERDICT_PAUSE: _ClassVar[StageVerdict.Verdict]
    VERDICT_UNSPECIFIED: StageVerdict.Verdict
    VERDICT_OK: StageVerdict.Verdict
    VERDICT_CANCEL: StageVerdict.Verdict
    VERDICT_LOST_LEASE: StageVerdict.Verdict
    VERDICT_PAUSE: StageVerdict.Verdict
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    GANG_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    verdict: StageVerdict.Verdict
    lease_until: _timestamp_pb2.Timestamp
    gang: GangPlace
    def __init__(self, stage_id: _Optional[str] = ..., verdict: _Optional[_Union[StageVerdict.Verdict, str]] = ..., lease_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., gang: _Optional[_Union[GangPlace, _Mapping]] = ...) -> None: ...

class ReportStageRequest(_message.Message):
    __slots__ = ("stage_id", "fence", "points", "checkpoints", "retired_checkpoint_uris")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    RETIRED_CHECKPOINT_URIS_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    fence: int
    points: _containers.RepeatedCompositeFieldContainer[_stage_pb2.MetricPoint]
    checkpoints: _containers.RepeatedCompositeFieldContainer[_stage_pb2.Checkpoint]
    retired_checkpoint_uris: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, stage_id: _Optional[str] = ..., fence: _Optional[int] = ..., points: _Optional[_Iterable[_Union[_stage_pb2.MetricPoint, _Mapping]]] = ..., checkpoints: _Optional[_Iterable[_Union[_stage_pb2.Checkpoint, _Mapping]]] = ..., retired_checkpoint_uris: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportStageResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CompleteStageRequest(_message.Message):
    __slots__ = ("stage_id", "fence", "outputs", "worker_id", "claim_request_id")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    CLAIM_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    fence: int
    outputs: _stage_pb2.StageOutputs
    worker_id: str
    claim_request_id: str
    def __init__(self, stage_id: _Optional[str] = ..., fence: _Optional[int] = ..., outputs: _Optional[_Union[_stage_pb2.StageOutputs, _Mapping]] = ..., worker_id: _Optional[str] = ..., claim_request_id: _Optional[str] = ...) -> None: ...

class CompleteStageResponse(_message.Message):
    __slots__ = ("stage", "next")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    stage: _stage_pb2.Stage
    next: StageAssignment
    def __init__(self, stage: _Optional[_Union[_stage_pb2.Stage, _Mapping]] = ..., next: _Optional[_Union[StageAssignment, _Mapping]] = ...) -> None: ...

class FailStageRequest(_message.Message):
    __slots__ = ("stage_id", "fence", "failure")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    fence: int
    failure: _failure_pb2.Failure
    def __init__(self, stage_id: _Optional[str] = ..., fence: _Optional[int] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class FailStageResponse(_message.Message):
    __slots__ = ("stage",)
    STAGE_FIELD_NUMBER: _ClassVar[int]
    stage: _stage_pb2.Stage
    def __init__(self, stage: _Optional[_Union[_stage_pb2.Stage, _Mapping]] = ...) -> None: ...

class LeaveGangRequest(_message.Message):
    __slots__ = ("stage_id", "fence", "worker_id", "failure")
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    stage_id: str
    fence: int
    worker_id: str
    failure: _failure_pb2.Failure
    def __init__(self, stage_id: _Optional[str] = ..., fence: _Optional[int] = ..., worker_id: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class LeaveGangResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RecordDeadLetterRequest(_message.Message):
    __slots__ = ("subject", "headers", "payload", "reason", "stage_id")
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    subject: str
    headers: _containers.ScalarMap[str, str]
    payload: bytes
    reason: str
    stage_id: str
    def __init__(self, subject: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., payload: _Optional[bytes] = ..., reason: _Optional[str] = ..., stage_id: _Optional[str] = ...) -> None: ...

class RecordDeadLetterResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
