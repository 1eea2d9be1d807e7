"""The catalogue as ListExperiments shows it, page by page, with availability.

A page begins after the previous page's last experiment, so a reload in between neither repeats nor fails.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from imgedit.errors import InvalidArgument
from imgedit.v1 import edit_pb2
from services.orchestrator.backends.lora_lists import LoraLists
from services.orchestrator.catalogue.experiments import Experiment, Feature
from services.orchestrator.listing import parameter_specs
from services.orchestrator.listing.availability import REWRITE_SERVICE, Availability
from services.orchestrator.request.parameters import PROFILE_NUMBERS, ProfileName, preset_numbers
from services.orchestrator.request.prompts import PromptRules

MAX_PAGE_SIZE = 100


def experiments_page(
    experiments: Sequence[Experiment],
    request: edit_pb2.ListExperimentsRequest,
    availability: Availability,
    prompts: PromptRules,
    loras: LoraLists,
) -> edit_pb2.ListExperimentsResponse:
    """The requested page.

    Raises `InvalidArgument` for an invalid size or token.
    """
    if not 0 <= request.page_size <= MAX_PAGE_SIZE:
        raise InvalidArgument.field("page_size", f"must be 0 to {MAX_PAGE_SIZE}, is {request.page_size}")
    first = _start(experiments, request.page_token)
    last = first + (request.page_size or MAX_PAGE_SIZE)
    shown = experiments[first:last]
    return edit_pb2.ListExperimentsResponse(
        experiments=[describe(experiment, availability, prompts, loras) for experiment in shown],
        next_page_token=_token(last, shown[-1]) if last < len(experiments) else "",
    )


def describe(
    experiment: Experiment, availability: Availability, prompts: PromptRules, loras: LoraLists
) -> edit_pb2.Experiment:
    """Everything that a client needs to offer an experiment."""
    missing = availability.missing(experiment.features)
    return edit_pb2.Experiment(
        id=experiment.id,
        name=experiment.name,
        description=experiment.description,
        model_ids=[model.model_id for model in experiment.models],
        features=[_describe_feature(feature, availability, prompts, loras) for feature in experiment.features],
        available=not missing,
        unavailable_services=missing,
    )


def _describe_feature(
    feature: Feature, availability: Availability, prompts: PromptRules, loras: LoraLists
) -> edit_pb2.Feature:
    offered = loras.offered(stage.kind for stage in feature.paint_stages)
    return edit_pb2.Feature(
        id=feature.id,
        name=feature.name,
        requires_mask=feature.requires_mask,
        stages=[stage.kind for stage in feature.stages],
        parameters=parameter_specs.specs(feature, has_loras=bool(offered)),
        prompt_languages=prompts.read_by(feature),
        rewritten_languages=prompts.rewritten_for(feature),
        rewrite_service=REWRITE_SERVICE if prompts.has_service and feature.prompt_stage else None,
        available=not availability.missing([feature]),
        profiles=[_describe_profile(feature, name) for name in (PROFILE_NUMBERS if feature.paint_stages else ())],
        task=feature.task,
        examples=[edit_pb2.PromptExample(prompt=example) for example in feature.examples],
        loras=offered,
    )


def _describe_profile(feature: Feature, name: ProfileName) -> edit_pb2.ProfileSpec:
    numbers = preset_numbers(feature, name)
    return edit_pb2.ProfileSpec(
        profile=PROFILE_NUMBERS[name],
        steps=int(numbers["steps"]),
        guidance_scale=numbers["guidance_scale"],
        strength=numbers["strength"],
    )


def _token(position: int, last: Experiment) -> str:
    """The start of the next page.

    After `last`, or at `position` if that experiment is gone.
    """
    return base64.urlsafe_b64encode(f"{position}:{last.id}".encode()).decode()


def _start(experiments: Sequence[Experiment], token: str) -> int:
    if not token:
        return 0
    try:
        text = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError, ValueError):
        text = ""
    match = re.fullmatch(r"(\d{1,6}):([a-z0-9_]{1,64})", text)
    if match is None:
        raise InvalidArgument.field("page_token", "must be the next_page_token of an answer, or empty")
    ids = [experiment.id for experiment in experiments]
    return ids.index(match[2]) + 1 if match[2] in ids else int(match[1])
