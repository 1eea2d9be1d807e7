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
