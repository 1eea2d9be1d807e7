"""Loading a model at the start of a service: timed, and shown in the metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from imgedit import __version__
from imgedit.errors import ServiceUnavailable
from services.common import metrics

T = TypeVar("T")

_log = logging.getLogger(__name__)


class ModelSlot(Generic[T]):
    """The servicer's reference to its model.

    Empty while it loads, when the server already answers health checks.
    """

    def __init__(self) -> None:
        self._model: T | None = None

    def fill(self, model: T) -> None:
        """Set the model that `get` returns."""
        self._model = model

    @property
    def is_filled(self) -> bool:
        """Whether the model is loaded."""
        return self._model is not None

    def get(self) -> T:
        """The model.

        Raises `ServiceUnavailable` while it loads.
        """
        if self._model is None:
            raise ServiceUnavailable("the model is still loading; ask again when the service is SERVING")
        return self._model


def load_model(service: str, load: Callable[[], T], *, name: Callable[[T], str], revision: Callable[[T], str]) -> T:
    """Run `load`, which loads and warms up, and record its duration and model."""
    metrics.MODEL_LOADED.labels(service).set(0)
    started = time.perf_counter()
    model = load()
    seconds = time.perf_counter() - started
    metrics.MODEL_LOADED.labels(service).set(1)
    metrics.MODEL_LOAD_SECONDS.labels(service).set(seconds)
    build = {"version": __version__, "service": service, "model": name(model), "model_revision": revision(model)}
    metrics.BUILD.info(build)
    _log.info("model loaded", extra={"seconds": round(seconds, 2), "revision": revision(model)})
    return model
