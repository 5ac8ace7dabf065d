import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeadLetter(_message.Message):
    __slots__ = ("dead_letter_id", "source", "subject", "headers", "payload", "reason", "project_id", "job_id", "stage_id", "create_time", "retry_time")
    class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SOURCE_UNSPECIFIED: _ClassVar[DeadLetter.Source]
        SOURCE_RELAY: _ClassVar[DeadLetter.Source]
        SOURCE_WORKER: _ClassVar[DeadLetter.Source]
        SOURCE_RECONCILER: _ClassVar[DeadLetter.Source]
    SOURCE_UNSPECIFIED: DeadLetter.Source
    SOURCE_RELAY: DeadLetter.Source
    SOURCE_WORKER: DeadLetter.Source
    SOURCE_RECONCILER: DeadLetter.Source
    class HeadersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEAD_LETTER_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROJECT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETRY_TIME_FIELD_NUMBER: _ClassVar[int]
    dead_letter_id: str
    source: DeadLetter.Source
    subject: str
    headers: _containers.ScalarMap[str, str]
    payload: bytes
    reason: str
    project_id: str
    job_id: str
    stage_id: str
    create_time: _timestamp_pb2.Timestamp
    retry_time: _timestamp_pb2.Timestamp
    def __init__(self, dead_letter_id: _Optional[str] = ..., source: _Optional[_Union[DeadLetter.Source, str]] = ..., subject: _Optional[str] = ..., headers: _Optional[_Mapping[str, str]] = ..., payload: _Optional[bytes] = ..., reason: _Optional[str] = ..., project_id: _Optional[str] = ..., job_id: _Optional[str] = ..., stage_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retry_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
