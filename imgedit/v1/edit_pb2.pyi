from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.rpc import status_pb2 as _status_pb2
from imgedit.v1 import lora_pb2 as _lora_pb2
from imgedit.v1 import profile_pb2 as _profile_pb2
from imgedit.v1 import progress_pb2 as _progress_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MaskSubject(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_SUBJECT_UNSPECIFIED: _ClassVar[MaskSubject]
    MASK_SUBJECT_SUBJECT: _ClassVar[MaskSubject]
    MASK_SUBJECT_BACKGROUND: _ClassVar[MaskSubject]

class Background(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKGROUND_UNSPECIFIED: _ClassVar[Background]
    BACKGROUND_WHOLE: _ClassVar[Background]
    BACKGROUND_KEEP: _ClassVar[Background]
    BACKGROUND_REMOVE: _ClassVar[Background]
    BACKGROUND_TRANSPARENT: _ClassVar[Background]

class OutputFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_FORMAT_UNSPECIFIED: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_PNG: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_JPEG: _ClassVar[OutputFormat]
    OUTPUT_FORMAT_WEBP: _ClassVar[OutputFormat]

class OutputOmit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_OMIT_UNSPECIFIED: _ClassVar[OutputOmit]
    OUTPUT_OMIT_CUTOUT: _ClassVar[OutputOmit]
    OUTPUT_OMIT_MASK: _ClassVar[OutputOmit]

class CancelOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_OUTCOME_UNSPECIFIED: _ClassVar[CancelOutcome]
    CANCEL_OUTCOME_CANCELLED: _ClassVar[CancelOutcome]
    CANCEL_OUTCOME_FINISHED: _ClassVar[CancelOutcome]

class EditState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDIT_STATE_UNSPECIFIED: _ClassVar[EditState]
    EDIT_STATE_QUEUED: _ClassVar[EditState]
    EDIT_STATE_RUNNING: _ClassVar[EditState]
    EDIT_STATE_SUCCEEDED: _ClassVar[EditState]
    EDIT_STATE_FAILED: _ClassVar[EditState]
    EDIT_STATE_CANCELLED: _ClassVar[EditState]

class Postprocess(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POSTPROCESS_UNSPECIFIED: _ClassVar[Postprocess]
    POSTPROCESS_ON: _ClassVar[Postprocess]
    POSTPROCESS_OFF: _ClassVar[Postprocess]

class PromptRewrite(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROMPT_REWRITE_UNSPECIFIED: _ClassVar[PromptRewrite]
    PROMPT_REWRITE_TRANSLATED: _ClassVar[PromptRewrite]
    PROMPT_REWRITE_EXPANDED: _ClassVar[PromptRewrite]

class MaskSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MASK_SOURCE_UNSPECIFIED: _ClassVar[MaskSource]
    MASK_SOURCE_WHOLE: _ClassVar[MaskSource]
    MASK_SOURCE_SEGMENTATION: _ClassVar[MaskSource]
    MASK_SOURCE_REQUEST: _ClassVar[MaskSource]
    MASK_SOURCE_MARGINS: _ClassVar[MaskSource]

class ParameterType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARAMETER_TYPE_UNSPECIFIED: _ClassVar[ParameterType]
    PARAMETER_TYPE_INTEGER: _ClassVar[ParameterType]
    PARAMETER_TYPE_NUMBER: _ClassVar[ParameterType]
    PARAMETER_TYPE_TEXT: _ClassVar[ParameterType]
    PARAMETER_TYPE_IMAGE: _ClassVar[ParameterType]
    PARAMETER_TYPE_MESSAGE: _ClassVar[ParameterType]
    PARAMETER_TYPE_ENUM: _ClassVar[ParameterType]
    PARAMETER_TYPE_BOOLEAN: _ClassVar[ParameterType]
MASK_SUBJECT_UNSPECIFIED: MaskSubject
MASK_SUBJECT_SUBJECT: MaskSubject
MASK_SUBJECT_BACKGROUND: MaskSubject
BACKGROUND_UNSPECIFIED: Background
BACKGROUND_WHOLE: Background
BACKGROUND_KEEP: Background
BACKGROUND_REMOVE: Background
BACKGROUND_TRANSPARENT: Background
OUTPUT_FORMAT_UNSPECIFIED: OutputFormat
OUTPUT_FORMAT_PNG: OutputFormat
OUTPUT_FORMAT_JPEG: OutputFormat
OUTPUT_FORMAT_WEBP: OutputFormat
OUTPUT_OMIT_UNSPECIFIED: OutputOmit
OUTPUT_OMIT_CUTOUT: OutputOmit
OUTPUT_OMIT_MASK: OutputOmit
CANCEL_OUTCOME_UNSPECIFIED: CancelOutcome
CANCEL_OUTCOME_CANCELLED: CancelOutcome
CANCEL_OUTCOME_FINISHED: CancelOutcome
EDIT_STATE_UNSPECIFIED: EditState
EDIT_STATE_QUEUED: EditState
EDIT_STATE_RUNNING: EditState
EDIT_STATE_SUCCEEDED: EditState
EDIT_STATE_FAILED: EditState
EDIT_STATE_CANCELLED: EditState
POSTPROCESS_UNSPECIFIED: Postprocess
POSTPROCESS_ON: Postprocess
POSTPROCESS_OFF: Postprocess
PROMPT_REWRITE_UNSPECIFIED: PromptRewrite
PROMPT_REWRITE_TRANSLATED: PromptRewrite
PROMPT_REWRITE_EXPANDED: PromptRewrite
MASK_SOURCE_UNSPECIFIED: MaskSource
MASK_SOURCE_WHOLE: MaskSource
MASK_SOURCE_SEGMENTATION: MaskSource
MASK_SOURCE_REQUEST: MaskSource
MASK_SOURCE_MARGINS: MaskSource
PARAMETER_TYPE_UNSPECIFIED: ParameterType
PARAMETER_TYPE_INTEGER: ParameterType
PARAMETER_TYPE_NUMBER: ParameterType
PARAMETER_TYPE_TEXT: ParameterType
PARAMETER_TYPE_IMAGE: ParameterType
PARAMETER_TYPE_MESSAGE: ParameterType
PARAMETER_TYPE_ENUM: ParameterType
PARAMETER_TYPE_BOOLEAN: ParameterType

class EditRequest(_message.Message):
    __slots__ = ("experiment_id", "input_image", "prompt", "feature_id", "negative_prompt", "steps", "guidance_scale", "strength", "seed", "profile", "mask_image", "mask_options", "outpaint", "reference_images", "background", "negative_scale", "output", "postprocess", "preview_every", "request_id", "expand_prompt", "loras", "n")
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    INPUT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    FEATURE_ID_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    MASK_IMAGE_FIELD_NUMBER: _ClassVar[int]
    MASK_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    OUTPAINT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_IMAGES_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_SCALE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPAND_PROMPT_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    experiment_id: str
    input_image: bytes
    prompt: str
    feature_id: str
    negative_prompt: str
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    profile: _profile_pb2.Profile
    mask_image: bytes
    mask_options: MaskOptions
    outpaint: Outpaint
    reference_images: _containers.RepeatedScalarFieldContainer[bytes]
    background: Background
    negative_scale: float
    output: OutputOptions
    postprocess: Postprocess
    preview_every: int
    request_id: str
    expand_prompt: bool
    loras: _containers.RepeatedCompositeFieldContainer[_lora_pb2.LoraUse]
    n: int
    def __init__(self, experiment_id: _Optional[str] = ..., input_image: _Optional[bytes] = ..., prompt: _Optional[str] = ..., feature_id: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., strength: _Optional[float] = ..., seed: _Optional[int] = ..., profile: _Optional[_Union[_profile_pb2.Profile, str]] = ..., mask_image: _Optional[bytes] = ..., mask_options: _Optional[_Union[MaskOptions, _Mapping]] = ..., outpaint: _Optional[_Union[Outpaint, _Mapping]] = ..., reference_images: _Optional[_Iterable[bytes]] = ..., background: _Optional[_Union[Background, str]] = ..., negative_scale: _Optional[float] = ..., output: _Optional[_Union[OutputOptions, _Mapping]] = ..., postprocess: _Optional[_Union[Postprocess, str]] = ..., preview_every: _Optional[int] = ..., request_id: _Optional[str] = ..., expand_prompt: _Optional[bool] = ..., loras: _Optional[_Iterable[_Union[_lora_pb2.LoraUse, _Mapping]]] = ..., n: _Optional[int] = ...) -> None: ...

class MaskOptions(_message.Message):
    __slots__ = ("subject", "invert", "threshold", "fill_holes", "grow_px", "feather_px")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FILL_HOLES_FIELD_NUMBER: _ClassVar[int]
    GROW_PX_FIELD_NUMBER: _ClassVar[int]
    FEATHER_PX_FIELD_NUMBER: _ClassVar[int]
    subject: MaskSubject
    invert: bool
    threshold: float
    fill_holes: bool
    grow_px: int
    feather_px: int
    def __init__(self, subject: _Optional[_Union[MaskSubject, str]] = ..., invert: _Optional[bool] = ..., threshold: _Optional[float] = ..., fill_holes: _Optional[bool] = ..., grow_px: _Optional[int] = ..., feather_px: _Optional[int] = ...) -> None: ...

class OutputOptions(_message.Message):
    __slots__ = ("format", "quality", "omit")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    OMIT_FIELD_NUMBER: _ClassVar[int]
    format: OutputFormat
    quality: int
    omit: _containers.RepeatedScalarFieldContainer[OutputOmit]
    def __init__(self, format: _Optional[_Union[OutputFormat, str]] = ..., quality: _Optional[int] = ..., omit: _Optional[_Iterable[_Union[OutputOmit, str]]] = ...) -> None: ...

class CancelEditRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class CancelEditResponse(_message.Message):
    __slots__ = ("request_id", "outcome")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    outcome: CancelOutcome
    def __init__(self, request_id: _Optional[str] = ..., outcome: _Optional[_Union[CancelOutcome, str]] = ...) -> None: ...

class GetEditRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class GetEditResponse(_message.Message):
    __slots__ = ("request_id", "state", "queued", "stage", "progress", "result", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    state: EditState
    queued: _progress_pb2.Queued
    stage: StageStarted
    progress: StageProgress
    result: EditResponse
    error: _status_pb2.Status
    def __init__(self, request_id: _Optional[str] = ..., state: _Optional[_Union[EditState, str]] = ..., queued: _Optional[_Union[_progress_pb2.Queued, _Mapping]] = ..., stage: _Optional[_Union[StageStarted, _Mapping]] = ..., progress: _Optional[_Union[StageProgress, _Mapping]] = ..., result: _Optional[_Union[EditResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class EstimateEditResponse(_message.Message):
    __slots__ = ("seconds", "queue_seconds", "queue_position")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    queue_seconds: float
    queue_position: int
    def __init__(self, seconds: _Optional[float] = ..., queue_seconds: _Optional[float] = ..., queue_position: _Optional[int] = ...) -> None: ...

class Outpaint(_message.Message):
    __slots__ = ("left", "right", "top", "bottom", "aspect")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    ASPECT_FIELD_NUMBER: _ClassVar[int]
    left: int
    right: int
    top: int
    bottom: int
    aspect: str
    def __init__(self, left: _Optional[int] = ..., right: _Optional[int] = ..., top: _Optional[int] = ..., bottom: _Optional[int] = ..., aspect: _Optional[str] = ...) -> None: ...

class EditResponse(_message.Message):
    __slots__ = ("success", "experiment_id", "experiment_name", "output_image", "background_removed_image", "mask_image", "elapsed_time", "seed", "width", "height", "effective", "stage_timings", "warnings", "request_id", "further_results", "korean_warnings")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPERIMENT_NAME_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_REMOVED_IMAGE_FIELD_NUMBER: _ClassVar[int]
    MASK_IMAGE_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_TIME_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    STAGE_TIMINGS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FURTHER_RESULTS_FIELD_NUMBER: _ClassVar[int]
    KOREAN_WARNINGS_FIELD_NUMBER: _ClassVar[int]
    success: bool
    experiment_id: str
    experiment_name: str
    output_image: bytes
    background_removed_image: bytes
    mask_image: bytes
    elapsed_time: float
    seed: int
    width: int
    height: int
    effective: EffectiveParameters
    stage_timings: _containers.RepeatedCompositeFieldContainer[_progress_pb2.Timing]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    further_results: _containers.RepeatedCompositeFieldContainer[FurtherResult]
    korean_warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, success: _Optional[bool] = ..., experiment_id: _Optional[str] = ..., experiment_name: _Optional[str] = ..., output_image: _Optional[bytes] = ..., background_removed_image: _Optional[bytes] = ..., mask_image: _Optional[bytes] = ..., elapsed_time: _Optional[float] = ..., seed: _Optional[int] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., effective: _Optional[_Union[EffectiveParameters, _Mapping]] = ..., stage_timings: _Optional[_Iterable[_Union[_progress_pb2.Timing, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., further_results: _Optional[_Iterable[_Union[FurtherResult, _Mapping]]] = ..., korean_warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class FurtherResult(_message.Message):
    __slots__ = ("output_image", "seed")
    OUTPUT_IMAGE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    output_image: bytes
    seed: int
    def __init__(self, output_image: _Optional[bytes] = ..., seed: _Optional[int] = ...) -> None: ...

class EffectiveParameters(_message.Message):
    __slots__ = ("feature_id", "prompt", "negative_prompt", "negative_scale", "steps", "steps_run", "guidance_scale", "strength", "seed", "outpaint", "reference_count", "mask_source", "work_width", "work_height", "models", "profile", "requested_prompt", "requested_negative_prompt", "prompt_rewrite", "background", "mask_options", "output", "postprocess", "direction_words", "full_steps", "loras")
    FEATURE_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_RUN_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    OUTPAINT_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MASK_SOURCE_FIELD_NUMBER: _ClassVar[int]
    WORK_WIDTH_FIELD_NUMBER: _ClassVar[int]
    WORK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_PROMPT_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_REWRITE_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    MASK_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    POSTPROCESS_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_WORDS_FIELD_NUMBER: _ClassVar[int]
    FULL_STEPS_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    feature_id: str
    prompt: str
    negative_prompt: str
    negative_scale: float
    steps: int
    steps_run: int
    guidance_scale: float
    strength: float
    seed: int
    outpaint: Outpaint
    reference_count: int
    mask_source: MaskSource
    work_width: int
    work_height: int
    models: _containers.RepeatedCompositeFieldContainer[_progress_pb2.ModelInfo]
    profile: _profile_pb2.Profile
    requested_prompt: str
    requested_negative_prompt: str
    prompt_rewrite: PromptRewrite
    background: Background
    mask_options: MaskOptions
    output: OutputOptions
    postprocess: Postprocess
    direction_words: _containers.RepeatedScalarFieldContainer[str]
    full_steps: int
    loras: _containers.RepeatedCompositeFieldContainer[_lora_pb2.LoraUse]
    def __init__(self, feature_id: _Optional[str] = ..., prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., negative_scale: _Optional[float] = ..., steps: _Optional[int] = ..., steps_run: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., strength: _Optional[float] = ..., seed: _Optional[int] = ..., outpaint: _Optional[_Union[Outpaint, _Mapping]] = ..., reference_count: _Optional[int] = ..., mask_source: _Optional[_Union[MaskSource, str]] = ..., work_width: _Optional[int] = ..., work_height: _Optional[int] = ..., models: _Optional[_Iterable[_Union[_progress_pb2.ModelInfo, _Mapping]]] = ..., profile: _Optional[_Union[_profile_pb2.Profile, str]] = ..., requested_prompt: _Optional[str] = ..., requested_negative_prompt: _Optional[str] = ..., prompt_rewrite: _Optional[_Union[PromptRewrite, str]] = ..., background: _Optional[_Union[Background, str]] = ..., mask_options: _Optional[_Union[MaskOptions, _Mapping]] = ..., output: _Optional[_Union[OutputOptions, _Mapping]] = ..., postprocess: _Optional[_Union[Postprocess, str]] = ..., direction_words: _Optional[_Iterable[str]] = ..., full_steps: _Optional[int] = ..., loras: _Optional[_Iterable[_Union[_lora_pb2.LoraUse, _Mapping]]] = ...) -> None: ...

class EditEvent(_message.Message):
    __slots__ = ("request_id", "queued", "stage", "progress", "preview", "result", "error", "index")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    queued: _progress_pb2.Queued
    stage: StageStarted
    progress: StageProgress
    preview: _progress_pb2.Preview
    result: EditResponse
    error: _status_pb2.Status
    index: int
    def __init__(self, request_id: _Optional[str] = ..., queued: _Optional[_Union[_progress_pb2.Queued, _Mapping]] = ..., stage: _Optional[_Union[StageStarted, _Mapping]] = ..., progress: _Optional[_Union[StageProgress, _Mapping]] = ..., preview: _Optional[_Union[_progress_pb2.Preview, _Mapping]] = ..., result: _Optional[_Union[EditResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., index: _Optional[int] = ...) -> None: ...

class StageStarted(_message.Message):
    __slots__ = ("name", "index", "count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    index: int
    count: int
    def __init__(self, name: _Optional[str] = ..., index: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class StageProgress(_message.Message):
    __slots__ = ("stage", "step", "steps", "eta_seconds")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    step: int
    steps: int
    eta_seconds: float
    def __init__(self, stage: _Optional[str] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., eta_seconds: _Optional[float] = ...) -> None: ...

class ListExperimentsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListExperimentsResponse(_message.Message):
    __slots__ = ("experiments", "next_page_token")
    EXPERIMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    experiments: _containers.RepeatedCompositeFieldContainer[Experiment]
    next_page_token: str
    def __init__(self, experiments: _Optional[_Iterable[_Union[Experiment, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Experiment(_message.Message):
    __slots__ = ("id", "name", "description", "features", "model_ids", "available", "unavailable_services")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    MODEL_IDS_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_SERVICES_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    description: str
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    model_ids: _containers.RepeatedScalarFieldContainer[str]
    available: bool
    unavailable_services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ..., model_ids: _Optional[_Iterable[str]] = ..., available: _Optional[bool] = ..., unavailable_services: _Optional[_Iterable[str]] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("id", "name", "requires_mask", "stages", "parameters", "prompt_languages", "rewritten_languages", "rewrite_service", "available", "profiles", "task", "examples", "loras")
    class TaskEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_MASK_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    REWRITE_SERVICE_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LORAS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    requires_mask: bool
    stages: _containers.RepeatedScalarFieldContainer[str]
    parameters: _containers.RepeatedCompositeFieldContainer[ParameterSpec]
    prompt_languages: _containers.RepeatedScalarFieldContainer[str]
    rewritten_languages: _containers.RepeatedScalarFieldContainer[str]
    rewrite_service: str
    available: bool
    profiles: _containers.RepeatedCompositeFieldContainer[ProfileSpec]
    task: _containers.ScalarMap[str, str]
    examples: _containers.RepeatedCompositeFieldContainer[PromptExample]
    loras: _containers.RepeatedCompositeFieldContainer[_lora_pb2.Lora]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., requires_mask: _Optional[bool] = ..., stages: _Optional[_Iterable[str]] = ..., parameters: _Optional[_Iterable[_Union[ParameterSpec, _Mapping]]] = ..., prompt_languages: _Optional[_Iterable[str]] = ..., rewritten_languages: _Optional[_Iterable[str]] = ..., rewrite_service: _Optional[str] = ..., available: _Optional[bool] = ..., profiles: _Optional[_Iterable[_Union[ProfileSpec, _Mapping]]] = ..., task: _Optional[_Mapping[str, str]] = ..., examples: _Optional[_Iterable[_Union[PromptExample, _Mapping]]] = ..., loras: _Optional[_Iterable[_Union[_lora_pb2.Lora, _Mapping]]] = ...) -> None: ...

class PromptExample(_message.Message):
    __slots__ = ("prompt",)
    class PromptEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    prompt: _containers.ScalarMap[str, str]
    def __init__(self, prompt: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ProfileSpec(_message.Message):
    __slots__ = ("profile", "steps", "guidance_scale", "strength")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SCALE_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    profile: _profile_pb2.Profile
    steps: int
    guidance_scale: float
    strength: float
    def __init__(self, profile: _Optional[_Union[_profile_pb2.Profile, str]] = ..., steps: _Optional[int] = ..., guidance_scale: _Optional[float] = ..., strength: _Optional[float] = ...) -> None: ...

class ParameterSpec(_message.Message):
    __slots__ = ("name", "type", "required", "default", "range", "length", "count", "choices", "help")
    class HelpEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    HELP_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: ParameterType
    required: bool
    default: _struct_pb2.Value
    range: NumberRange
    length: TextLength
    count: PictureCount
    choices: Choices
    help: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[ParameterType, str]] = ..., required: _Optional[bool] = ..., default: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., range: _Optional[_Union[NumberRange, _Mapping]] = ..., length: _Optional[_Union[TextLength, _Mapping]] = ..., count: _Optional[_Union[PictureCount, _Mapping]] = ..., choices: _Optional[_Union[Choices, _Mapping]] = ..., help: _Optional[_Mapping[str, str]] = ...) -> None: ...

class NumberRange(_message.Message):
    __slots__ = ("min", "max", "recommended_min", "recommended_max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_MIN_FIELD_NUMBER: _ClassVar[int]
    RECOMMENDED_MAX_FIELD_NUMBER: _ClassVar[int]
    min: float
    max: float
    recommended_min: float
    recommended_max: float
    def __init__(self, min: _Optional[float] = ..., max: _Optional[float] = ..., recommended_min: _Optional[float] = ..., recommended_max: _Optional[float] = ...) -> None: ...

class TextLength(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class PictureCount(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class Choices(_message.Message):
    __slots__ = ("names",)
    NAMES_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, names: _Optional[_Iterable[str]] = ...) -> None: ...
