"""Choose the feature for a request.

It is the feature that `model` names, or the first one in the catalogue that fits the request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from imgedit.errors import ExperimentNotFound, FeatureNotFound, InvalidArgument, Resource, did_you_mean, quoted
from services.openai_api.edits import Feature
from services.openai_api.parameters import ImageEdit


def is_named(model: str | None) -> bool:
    """Whether the model is "experiment/feature" and so needs no catalogue."""
    return model is not None and "/" in model


def choose(asked: ImageEdit, features: Sequence[Feature]) -> Feature:
    """The feature for a request. Raises `NotFound` for an unknown model."""
    if asked.model is None:
        found = _first_fitting(features, asked)
        if found is None:
            wanted = ", ".join(sorted(set(_carried(asked)) - {"prompt"})) or "a prompt alone"
            raise InvalidArgument.field(
                "model",
                f"must be named: no feature of the catalogue fits a request with {wanted}; GET /v1/models lists them",
            )
        return found
    experiment, _, name = asked.model.partition("/")
    of_experiment = [feature for feature in features if feature.experiment == experiment]
    if not of_experiment:
        ids = [*dict.fromkeys(feature.experiment for feature in features)]
        known, hint = ", ".join(ids), did_you_mean(experiment, ids)
        raise ExperimentNotFound.named(
            "model",
            f"there is no {quoted(asked.model)}{hint}; there are {known}, each alone or as experiment/feature",
            Resource("experiment", experiment),
            korean=f"{quoted(asked.model)} 모델이 없습니다. 사용할 수 있는 모델: {known}",
        )
    if name:
        found = next((feature for feature in of_experiment if feature.name == name), None)
        if found is None:
            ids = [feature.id for feature in of_experiment]
            known = ", ".join(ids)
            raise FeatureNotFound.named(
                "model",
                f"there is no {quoted(asked.model)}{did_you_mean(asked.model, ids)}; there are {known}",
                Resource("feature", name),
                korean=f"{quoted(asked.model)} 모델이 없습니다. 사용할 수 있는 모델: {known}",
            )
        return found
    # As everywhere, an experiment alone means its first feature, unless another is the one for such a request.
    return _first_fitting(of_experiment, asked) or of_experiment[0]


def _first_fitting(features: Sequence[Feature], asked: ImageEdit) -> Feature | None:
    """The first feature that fits.

    If the request has a mask, features that require one come first.
    """
    carried = set(_carried(asked))
    found = [feature for feature in features if _fits(feature, carried, len(asked.images) - 1)]
    return min(found, key=lambda feature: feature.requires_mask != ("mask_image" in carried), default=None)


def _fits(feature: Feature, carried: set[str], references: int) -> bool:
    """Whether the feature takes every field of a request and has what it requires.

    A feature that repaints a mask requires a mask; one that extends the picture requires margins.
    """
    if not carried <= feature.takes or references > feature.max_references:
        return False
    needed = {"mask_image"} if feature.requires_mask else set()
    return needed | (feature.takes & {"outpaint"}) <= carried


def _carried(asked: ImageEdit) -> Iterator[str]:
    """The fields of an edit that the request sets."""
    if asked.prompt:
        yield "prompt"
    if asked.mask or asked.own_mask:
        yield "mask_image"
    if asked.background not in (None, "opaque"):
        yield "background"
    if len(asked.images) > 1:
        yield "reference_images"
    for name in asked.own:
        yield "outpaint" if name.startswith("outpaint.") else name
