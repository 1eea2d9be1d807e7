"""The adapter between plain values and EditService's messages.

No other module of this service uses the messages.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from imgedit.call_errors import error_of, was_lost
from imgedit.channels import TlsFiles, open_channel
from imgedit.errors import ImgeditError, InternalError, from_status
from imgedit.v1 import edit_pb2, edit_pb2_grpc, profile_pb2
from services.common import tracing
from services.common.interceptors import CREDENTIAL_CHECK, REQUEST_ID_KEY

_SERVICE = edit_pb2.DESCRIPTOR.services_by_name["EditService"]
_LIST_SECONDS = 10.0
_ATTEMPTS = 2
_ATTEMPT_KEY = "x-envoy-attempt-count"
"""Tells the orchestrator that an edit was sent before, so that it runs no lost stage again."""

_FORMATS = {"png": "OUTPUT_FORMAT_PNG", "jpeg": "OUTPUT_FORMAT_JPEG", "webp": "OUTPUT_FORMAT_WEBP"}
_PROFILES = {
    "fast": profile_pb2.PROFILE_FAST,
    "balanced": profile_pb2.PROFILE_BALANCED,
    "high": profile_pb2.PROFILE_HIGH,
}
_SUBJECTS = {"subject": edit_pb2.MASK_SUBJECT_SUBJECT, "background": edit_pb2.MASK_SUBJECT_BACKGROUND}
_QUALITIES = {
    profile_pb2.PROFILE_FAST: "low",
    profile_pb2.PROFILE_BALANCED: "medium",
    profile_pb2.PROFILE_HIGH: "high",
}

FIELDS = {
    "input_image": "image",
    "reference_images": "image",
    "mask_image": "mask",
    "experiment_id": "model",
    "feature_id": "model",
    "output.format": "output_format",
    "output.quality": "output_compression",
    "preview_every": "partial_images",
}
"""This API's names for the fields that errors name."""


@dataclass(frozen=True)
class Feature:
    """A feature of the catalogue.

    takes: the fields that a request may carry. max_references: pictures after the first. numbers: denoise steps and
    strength by profile; the key "" holds the default. seed: the seed of an edit whose caller sets none; None = random.
    """

    experiment: str
    name: str
    requires_mask: bool
    takes: frozenset[str]
    max_references: int
    numbers: Mapping[str, tuple[int, float]]
    seed: int | None = None

    @property
    def id(self) -> str:
        """The model that stands for it."""
        return f"{self.experiment}/{self.name}"

    def steps_run(self, profile: str | None, steps: int | None, strength: float | None) -> int:
        """Denoise steps that an edit runs, after its strength has skipped the first ones."""
        usual, share = self.numbers.get(profile or "", self.numbers[""])
        chosen, part = usual if steps is None else steps, share if strength is None else strength
        return chosen - int(chosen - chosen * part)


@dataclass(frozen=True)
class EditSpec:
    """One edit.

    previews: steps between previews; 0 = none. n: number of results. own: our additional parameters, for instance
    "outpaint.left".
    """

    experiment: str
    feature: str | None
    images: tuple[bytes, ...]
    prompt: str
    mask: bytes | None
    output_format: str
    output_compression: int | None
    background: str | None
    previews: int
    n: int
    request_id: str
    own: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """A stage began, or one of its steps is done."""

    stage: str
    step: int
    steps: int


@dataclass(frozen=True)
class Preview:
    """A rough look at the picture so far: a JPEG file."""

    image: bytes


@dataclass(frozen=True)
class Result:
    """A finished result.

    index: its place among the n results. revised_prompt: the prompt that the model saw, if it differs from the
    caller's.
    """

    index: int
    image: bytes
    format: str
    width: int
    height: int
    seed: int
    model: str
    quality: str
    revised_prompt: str | None
    warnings: tuple[str, ...]
    request_id: str


Report = Progress | Preview | Result


class Edits:
    """Calls the orchestrator with each caller's own credential."""

    def __init__(self, target: str, *, tls: TlsFiles | None) -> None:
        """Raises `SettingsError` for a file at fault."""
        self._target = target
        self._channel = open_channel(target, tls=tls, is_balanced=True)
        self._stub = edit_pb2_grpc.EditServiceStub(self._channel)
        self._check: Any = self._channel.unary_unary(f"/{_SERVICE.full_name}/EditStream")

    async def close(self) -> None:
        """Close the connections."""
        await self._channel.close()

    async def admit(self, authorization: str | None, request_id: str) -> None:
        """Raise the orchestrator's rejection of a credential, before pictures are read."""
        metadata = (*_metadata(authorization, request_id), (CREDENTIAL_CHECK, "1"))
        await self._asked(self._check(b"", metadata=metadata, timeout=_LIST_SECONDS))

    async def features(self, authorization: str | None, request_id: str) -> list[Feature]:
        """The features of all experiments in catalogue order. Needs the scope "list"."""
        found: list[Feature] = []
        request = edit_pb2.ListExperimentsRequest()
        ends_at = time.monotonic() + _LIST_SECONDS
        while True:
            left = ends_at - time.monotonic()
            call = self._stub.ListExperiments(request, metadata=_metadata(authorization, request_id), timeout=left)
            page: edit_pb2.ListExperimentsResponse = await self._asked(call)
            found += [_feature(experiment.id, item) for experiment in page.experiments for item in experiment.features]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def reports(self, edit: EditSpec, authorization: str | None, ends_at: float) -> AsyncGenerator[Report, None]:
        """Yield the reports of one edit, with its n results among them.

        Closing the generator cancels the edit. If the orchestrator is lost before its first report, the edit is sent
        again with the same request id.
        """
        request = _message(edit)
        for attempt in range(1, _ATTEMPTS + 1):
            metadata = _metadata(authorization, edit.request_id)
            if attempt > 1:
                metadata = (*metadata, (_ATTEMPT_KEY, str(attempt)))
            call = self._stub.EditStream(request, metadata=metadata, timeout=max(ends_at - time.monotonic(), 0))
            has_begun, results = False, 0
            try:
                # To the end, also behind the result: leaving early would look like a cancelled call to the server.
                async for event in call:
                    has_begun = True
                    report = _report(event)
                    results += isinstance(report, Result)
                    if report is not None:
                        yield report
            except grpc.aio.AioRpcError as error:
                if has_begun or not was_lost(error) or attempt == _ATTEMPTS:
                    raise self._error(error) from None
                continue
            finally:
                call.cancel()
            if results != edit.n:
                raise InternalError(f"the stream ended with {results} of {edit.n} results; the server must send all")
            return

    async def _asked(self, call: Any) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from None

    def _error(self, error: grpc.aio.AioRpcError) -> ImgeditError:
        return error_of(error, self._target)


def _metadata(authorization: str | None, request_id: str) -> tuple[tuple[str, str], ...]:
    credential = (("authorization", authorization),) if authorization is not None else ()
    return (*credential, (REQUEST_ID_KEY, request_id), *tracing.metadata())


def _message(edit: EditSpec) -> edit_pb2.EditRequest:
    request = edit_pb2.EditRequest(
        experiment_id=edit.experiment,
        feature_id=edit.feature,
        input_image=edit.images[0],
        reference_images=edit.images[1:],
        mask_image=edit.mask or b"",
        prompt=edit.prompt,
        background=f"BACKGROUND_{edit.background.upper()}" if edit.background else None,
        output=edit_pb2.OutputOptions(
            format=_FORMATS[edit.output_format],
            quality=edit.output_compression,
            omit=[edit_pb2.OUTPUT_OMIT_CUTOUT, edit_pb2.OUTPUT_OMIT_MASK],
        ),
        preview_every=edit.previews or None,
        n=edit.n if edit.n > 1 else None,
        request_id=edit.request_id,
    )
    for name, value in edit.own.items():
        _set(request, name, value)
    return request


def _set(request: edit_pb2.EditRequest, name: str, value: Any) -> None:
    """Set one of our additional parameters."""
    match name.split("."):
        case ["mask_options", "subject"]:
            request.mask_options.subject = _SUBJECTS[value]
        case ["mask_options", field]:
            setattr(request.mask_options, field, value)
        case ["loras"]:
            for lora, scale in value:
                request.loras.add(name=lora, scale=scale)
        case ["outpaint", field]:
            setattr(request.outpaint, field, value)
        case ["profile"]:
            request.profile = _PROFILES[value]
        case ["postprocess"]:
            request.postprocess = edit_pb2.POSTPROCESS_ON if value else edit_pb2.POSTPROCESS_OFF
        case _:
            setattr(request, name, value)


def _report(event: edit_pb2.EditEvent) -> Report | None:
    """An event as a report; None for other events.

    Raises the error that ends an edit.
    """
    match event.WhichOneof("event"):
        case "error":
            raise from_status(event.error)
        case "stage":
            return Progress(event.stage.name, 0, 0)
        case "progress":
            return Progress(event.progress.stage, event.progress.step, event.progress.steps)
        case "preview":
            return Preview(event.preview.image)
        case "result":
            return _result(event.index, event.result)
    return None


def _result(index: int, response: edit_pb2.EditResponse) -> Result:
    used = response.effective
    formats = {edit_pb2.OutputFormat.Value(value): name for name, value in _FORMATS.items()}
    return Result(
        index=index,
        image=response.output_image,
        format=formats.get(used.output.format, "png"),
        width=response.width,
        height=response.height,
        seed=response.seed,
        model=f"{response.experiment_id}/{used.feature_id}",
        quality=_QUALITIES.get(used.profile, "medium"),
        revised_prompt=used.prompt if used.HasField("requested_prompt") else None,
        warnings=tuple(response.warnings),
        request_id=response.request_id,
    )


def _feature(experiment: str, feature: edit_pb2.Feature) -> Feature:
    specs = {spec.name: spec for spec in feature.parameters}
    references = specs.get("reference_images")
    numbers = {
        profile_pb2.Profile.Name(found.profile).removeprefix("PROFILE_").lower(): (found.steps, found.strength)
        for found in feature.profiles
    }
    seed = specs.get("seed")
    usual = [specs[name].default.number_value if name in specs else 0.0 for name in ("steps", "strength")]
    return Feature(
        experiment,
        feature.id,
        feature.requires_mask,
        frozenset(specs),
        references.count.max if references else 0,
        {"": (int(usual[0]), usual[1]), **numbers},
        int(seed.default.number_value) if seed is not None and seed.HasField("default") else None,
    )
