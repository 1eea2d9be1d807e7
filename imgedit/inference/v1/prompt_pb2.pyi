from imgedit.inference.v1 import image_pb2 as _image_pb2
from imgedit.v1 import progress_pb2 as _progress_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RewriteMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REWRITE_MODE_UNSPECIFIED: _ClassVar[RewriteMode]
    REWRITE_MODE_TRANSLATE: _ClassVar[RewriteMode]
    REWRITE_MODE_EXPAND: _ClassVar[RewriteMode]

class RewriteOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REWRITE_OUTCOME_UNSPECIFIED: _ClassVar[RewriteOutcome]
    REWRITE_OUTCOME_UNCHANGED: _ClassVar[RewriteOutcome]
    REWRITE_OUTCOME_TRANSLATED: _ClassVar[RewriteOutcome]
    REWRITE_OUTCOME_EXPANDED: _ClassVar[RewriteOutcome]
REWRITE_MODE_UNSPECIFIED: RewriteMode
REWRITE_MODE_TRANSLATE: RewriteMode
REWRITE_MODE_EXPAND: RewriteMode
REWRITE_OUTCOME_UNSPECIFIED: RewriteOutcome
REWRITE_OUTCOME_UNCHANGED: RewriteOutcome
REWRITE_OUTCOME_TRANSLATED: RewriteOutcome
REWRITE_OUTCOME_EXPANDED: RewriteOutcome

class RewritePromptRequest(_message.Message):
    __slots__ = ("prompt", "target_language", "mode", "images")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TARGET_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    target_language: str
    mode: RewriteMode
    images: _containers.RepeatedCompositeFieldContainer[_image_pb2.Image]
    def __init__(self, prompt: _Optional[str] = ..., target_language: _Optional[str] = ..., mode: _Optional[_Union[RewriteMode, str]] = ..., images: _Optional[_Iterable[_Union[_image_pb2.Image, _Mapping]]] = ...) -> None: ...

class RewritePromptResponse(_message.Message):
    __slots__ = ("prompt", "outcome", "source_language", "model", "timings")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    outcome: RewriteOutcome
    source_language: str
    model: _progress_pb2.ModelInfo
    timings: _containers.RepeatedCompositeFieldContainer[_progress_pb2.Timing]
    def __init__(self, prompt: _Optional[str] = ..., outcome: _Optional[_Union[RewriteOutcome, str]] = ..., source_language: _Optional[str] = ..., model: _Optional[_Union[_progress_pb2.ModelInfo, _Mapping]] = ..., timings: _Optional[_Iterable[_Union[_progress_pb2.Timing, _Mapping]]] = ...) -> None: ...
