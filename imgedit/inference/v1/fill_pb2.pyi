from imgedit.inference.v1 import image_pb2 as _image_pb2
from imgedit.inference.v1 import steps_pb2 as _steps_pb2
from imgedit.v1 import lora_pb2 as _lora_pb2
from imgedit.v1 import profile_pb2 as _profile_pb2
from imgedit.v1 import progress_pb2 as _progress_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FillRequest(_message.Message):
    __slots__ = ("image", "mask", "prompt", "negative_prompt", "negative_scale", "steps", "guidance_scale", "strength", "seed", "preview_every", "profile", "region_steps", "loras")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    REGION_STEPS_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    mask: _image_pb2.Image
    prompt: str
    negative_prompt: str
    negative_scale: float
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    preview_every: int
    profile: _profile_pb2.Profile
    region_steps: bool
    loras: _containers.RepeatedCompositeFieldContainer[_lora_pb2.LoraUse]
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., mask: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., negative_scale: _Optional[float] = ..., steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., strength: _Optional[float] = ..., seed: _Optional[int] = ..., preview_every: _Optional[int] = ..., profile: _Optional[_Union[_profile_pb2.Profile, str]] = ..., region_steps: _Optional[bool] = ..., loras: _Optional[_Iterable[_Union[_lora_pb2.LoraUse, _Mapping]]] = ...) -> None: ...

class FillEvent(_message.Message):
    __slots__ = ("queued", "progress", "preview", "result")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    queued: _progress_pb2.Queued
    progress: _steps_pb2.Progress
    preview: _progress_pb2.Preview
    result: FillResult
    def __init__(self, queued: _Optional[_Union[_progress_pb2.Queued, _Mapping]] = ..., progress: _Optional[_Union[_steps_pb2.Progress, _Mapping]] = ..., preview: _Optional[_Union[_progress_pb2.Preview, _Mapping]] = ..., result: _Optional[_Union[FillResult, _Mapping]] = ...) -> None: ...

class FillResult(_message.Message):
    __slots__ = ("image", "seed", "steps_run", "model", "timings", "warnings", "full_steps", "korean_warnings")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STEPS_RUN_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FULL_STEPS_FIELD_NUMBER: _ClassVar[int]
    KOREAN_WARNINGS_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    seed: int
    steps_run: int
    model: _progress_pb2.ModelInfo
    timings: _containers.RepeatedCompositeFieldContainer[_progress_pb2.Timing]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    full_steps: int
    korean_warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., seed: _Optional[int] = ..., steps_run: _Optional[int] = ..., model: _Optional[_Union[_progress_pb2.ModelInfo, _Mapping]] = ..., timings: _Optional[_Iterable[_Union[_progress_pb2.Timing, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., full_steps: _Optional[int] = ..., korean_warnings: _Optional[_Iterable[str]] = ...) -> None: ...
