from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailureClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_CLASS_UNSPECIFIED: _ClassVar[FailureClass]
    FAILURE_CLASS_CONFIG: _ClassVar[FailureClass]
    FAILURE_CLASS_DATA: _ClassVar[FailureClass]
    FAILURE_CLASS_OUT_OF_MEMORY: _ClassVar[FailureClass]
    FAILURE_CLASS_DIVERGED: _ClassVar[FailureClass]
    FAILURE_CLASS_STORAGE_FULL: _ClassVar[FailureClass]
    FAILURE_CLASS_PREEMPTED: _ClassVar[FailureClass]
    FAILURE_CLASS_LOST_WORKER: _ClassVar[FailureClass]
    FAILURE_CLASS_INTERNAL: _ClassVar[FailureClass]
    FAILURE_CLASS_CANCELLED: _ClassVar[FailureClass]
    FAILURE_CLASS_GATE_REFUSED: _ClassVar[FailureClass]
    FAILURE_CLASS_UNAVAILABLE: _ClassVar[FailureClass]
    FAILURE_CLASS_GANG_INCOMPLETE: _ClassVar[FailureClass]
FAILURE_CLASS_UNSPECIFIED: FailureClass
FAILURE_CLASS_CONFIG: FailureClass
FAILURE_CLASS_DATA: FailureClass
FAILURE_CLASS_OUT_OF_MEMORY: FailureClass
FAILURE_CLASS_DIVERGED: FailureClass
FAILURE_CLASS_STORAGE_FULL: FailureClass
FAILURE_CLASS_PREEMPTED: FailureClass
FAILURE_CLASS_LOST_WORKER: FailureClass
FAILURE_CLASS_INTERNAL: FailureClass
FAILURE_CLASS_CANCELLED: FailureClass
FAILURE_CLASS_GATE_REFUSED: FailureClass
FAILURE_CLASS_UNAVAILABLE: FailureClass
FAILURE_CLASS_GANG_INCOMPLETE: FailureClass

class Failure(_message.Message):
    __slots__ = ("failure_class", "message", "detail")
    FAILURE_CLASS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    failure_class: FailureClass
    message: str
    detail: str
    def __init__(self, failure_class: _Optional[_Union[FailureClass, str]] = ..., message: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...
