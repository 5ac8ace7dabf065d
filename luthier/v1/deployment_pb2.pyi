import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from luthier.v1 import failure_pb2 as _failure_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Deployment(_message.Message):
    __slots__ = ("deployment_id", "project_id", "job_id", "model_id", "name", "state", "triton_model", "failure", "create_time", "active_time")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Deployment.State]
        STATE_PENDING: _ClassVar[Deployment.State]
        STATE_ACTIVE: _ClassVar[Deployment.State]
        STATE_FAILED: _ClassVar[Deployment.State]
    STATE_UNSPECIFIED: Deployment.State
    STATE_PENDING: Deployment.State
    STATE_ACTIVE: Deployment.State
    STATE_FAILED: Deployment.State
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRITON_MODEL_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    project_id: str
    job_id: str
    model_id: str
    name: str
    state: Deployment.State
    triton_model: str
    failure: _failure_pb2.Failure
    create_time: _timestamp_pb2.Timestamp
    active_time: _timestamp_pb2.Timestamp
    def __init__(self, deployment_id: _Optional[str] = ..., project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., model_id: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[Deployment.State, str]] = ..., triton_model: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., active_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
