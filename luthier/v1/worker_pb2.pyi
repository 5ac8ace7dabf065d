import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Worker(_message.Message):
    __slots__ = ("worker_id", "display_name", "capabilities", "state", "register_time", "heartbeat_time", "num_failures_in_row", "quarantined_until")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Worker.State]
        STATE_READY: _ClassVar[Worker.State]
        STATE_DRAINING: _ClassVar[Worker.State]
        STATE_LOST: _ClassVar[Worker.State]
        STATE_QUARANTINED: _ClassVar[Worker.State]
    STATE_UNSPECIFIED: Worker.State
    STATE_READY: Worker.State
    STATE_DRAINING: Worker.State
    STATE_LOST: Worker.State
    STATE_QUARANTINED: Worker.State
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REGISTER_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIME_FIELD_NUMBER: _ClassVar[int]
    NUM_FAILURES_IN_ROW_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    display_name: str
    capabilities: WorkerCapabilities
    state: Worker.State
    register_time: _timestamp_pb2.Timestamp
    heartbeat_time: _timestamp_pb2.Timestamp
    num_failures_in_row: int
    quarantined_until: _timestamp_pb2.Timestamp
    def __init__(self, worker_id: _Optional[str] = ..., display_name: _Optional[str] = ..., capabilities: _Optional[_Union[WorkerCapabilities, _Mapping]] = ..., state: _Optional[_Union[Worker.State, str]] = ..., register_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., heartbeat_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., num_failures_in_row: _Optional[int] = ..., quarantined_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WorkerCapabilities(_message.Message):
    __slots__ = ("worker_classes", "kinds", "num_cpus", "memory_bytes", "accelerator", "num_accelerators", "version")
    WORKER_CLASSES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    NUM_CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    NUM_ACCELERATORS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    worker_classes: _containers.RepeatedScalarFieldContainer[str]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    num_cpus: int
    memory_bytes: int
    accelerator: str
    num_accelerators: int
    version: str
    def __init__(self, worker_classes: _Optional[_Iterable[str]] = ..., kinds: _Optional[_Iterable[str]] = ..., num_cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., accelerator: _Optional[str] = ..., num_accelerators: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...
