from imgedit.inference.v1 import image_pb2 as _image_pb2
from imgedit.v1 import progress_pb2 as _progress_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentOutput(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEGMENT_OUTPUT_UNSPECIFIED: _ClassVar[SegmentOutput]
    SEGMENT_OUTPUT_MASK: _ClassVar[SegmentOutput]
    SEGMENT_OUTPUT_CUTOUT: _ClassVar[SegmentOutput]
    SEGMENT_OUTPUT_FOREGROUND: _ClassVar[SegmentOutput]
SEGMENT_OUTPUT_UNSPECIFIED: SegmentOutput
SEGMENT_OUTPUT_MASK: SegmentOutput
SEGMENT_OUTPUT_CUTOUT: SegmentOutput
SEGMENT_OUTPUT_FOREGROUND: SegmentOutput

class SegmentRequest(_message.Message):
    __slots__ = ("image", "outputs", "refine_foreground", "cutout_ground_rgb")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    REFINE_FOREGROUND_FIELD_NUMBER: _ClassVar[int]
    CUTOUT_GROUND_RGB_FIELD_NUMBER: _ClassVar[int]
    image: _image_pb2.Image
    outputs: _containers.RepeatedScalarFieldContainer[SegmentOutput]
    refine_foreground: bool
    cutout_ground_rgb: int
    def __init__(self, image: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., outputs: _Optional[_Iterable[_Union[SegmentOutput, str]]] = ..., refine_foreground: _Optional[bool] = ..., cutout_ground_rgb: _Optional[int] = ...) -> None: ...

class SegmentResponse(_message.Message):
    __slots__ = ("mask", "cutout", "model", "timings", "cache_hit", "foreground")
    MASK_FIELD_NUMBER: _ClassVar[int]
    CUTOUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    FOREGROUND_FIELD_NUMBER: _ClassVar[int]
    mask: _image_pb2.Image
    cutout: _image_pb2.Image
    model: _progress_pb2.ModelInfo
    timings: _containers.RepeatedCompositeFieldContainer[_progress_pb2.Timing]
    cache_hit: bool
    foreground: _image_pb2.Image
    def __init__(self, mask: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., cutout: _Optional[_Union[_image_pb2.Image, _Mapping]] = ..., model: _Optional[_Union[_progress_pb2.ModelInfo, _Mapping]] = ..., timings: _Optional[_Iterable[_Union[_progress_pb2.Timing, _Mapping]]] = ..., cache_hit: _Optional[bool] = ..., foreground: _Optional[_Union[_image_pb2.Image, _Mapping]] = ...) -> None: ...
