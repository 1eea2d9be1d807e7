from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Progress(_message.Message):
    __slots__ = ("step", "steps", "eta_seconds")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    step: int
    steps: int
    eta_seconds: float
    def __init__(self, step: _Optional[int] = ..., steps: _Optional[int] = ..., eta_seconds: _Optional[float] = ...) -> None: ...

class JobEstimate(_message.Message):
    __slots__ = ("position", "queue_seconds", "work_seconds")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WORK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    position: int
    queue_seconds: float
    work_seconds: float
    def __init__(self, position: _Optional[int] = ..., queue_seconds: _Optional[float] = ..., work_seconds: _Optional[float] = ...) -> None: ...
