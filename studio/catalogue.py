"""The server connection and its catalogue, shared by all sessions and refreshed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import streamlit as st

from imgedit.errors import ImgeditError
from imgedit.sync_client import SyncEditClient
from imgedit.v1 import edit_pb2, profile_pb2
from studio import input_images, settings
from studio.estimates import Estimates
from studio.gallery.store import Gallery, Limits
from studio.input_images import InputImage
from studio.settings import Settings
from studio.visits import Visits

LIST_SECONDS = 20
"""How long the list is taken for current; a service that went away shows by then."""


@st.cache_resource(show_spinner=False)
def configuration() -> Settings:
    """The settings of this process."""
    return settings.load_settings()


@st.cache_resource(show_spinner=False)
def client() -> SyncEditClient:
    """The connection, which is thread-safe.

    Raises `SettingsError` for an invalid file.
    """
    configured = configuration()
    return SyncEditClient(configured.server, **configured.client_options)


@st.cache_resource(show_spinner=False, ttl=LIST_SECONDS)
def experiments() -> list[edit_pb2.Experiment]:
    """All experiments.

    Raises `ImgeditError` if the server does not respond; errors are not cached.
    """
    return client().experiments(timeout=5)


def is_available(experiment: str, feature: str) -> bool:
    """Whether a feature is available now; if not, the list is refreshed."""
    try:
        now = client().experiments(timeout=5)
    except ImgeditError:
        return False
    found = any(
        offered.available for each in now if each.id == experiment for offered in each.features if offered.id == feature
    )
    if found:
        experiments.clear()
    return found


@st.cache_resource(show_spinner=False)
def estimates() -> Estimates:
    """The estimates of all sessions."""
    return Estimates()


@st.cache_resource(show_spinner=False)
def visits() -> Visits:
    """The visits that a browser may come back to."""
    configured = configuration()
    return Visits(60 * configured.keep_minutes, configured.keep_bytes)


@st.cache_resource(show_spinner=False)
def gallery() -> Gallery | None:
    """The gallery on disk, if a folder is set."""
    configured = configuration()
    if not configured.gallery:
        return None
    limits = Limits(configured.gallery_bytes, configured.gallery_bytes_per_user, 86400 * configured.gallery_days)
    return Gallery(Path(configured.gallery), limits)


@st.cache_resource(show_spinner=False)
def samples() -> dict[str, InputImage]:
    """The sample pictures by name."""
    folder = configuration().samples
    return {picture.name: picture for picture in input_images.samples(Path(folder))} if folder else {}


class Form:
    """The parameters of a feature by name; a form removes those it has drawn."""

    def __init__(self, experiment: edit_pb2.Experiment, feature: edit_pb2.Feature) -> None:
        self.experiment = experiment
        self.feature = feature
        self._left = {spec.name: spec for spec in feature.parameters}

    def has(self, name: str) -> bool:
        """Whether the parameter exists and is not drawn yet."""
        return name in self._left

    def take(self, name: str) -> edit_pb2.ParameterSpec | None:
        """Take a parameter out of the rest; None if the feature lacks it."""
        return self._left.pop(name, None)

    def rest(self) -> list[edit_pb2.ParameterSpec]:
        """The parameters that are not drawn yet."""
        return [*self._left.values()]

    def key(self, name: str) -> str:
        """A widget's key: the same parameter of another feature is another widget."""
        return f"{self.experiment.id}-{self.feature.id}-{name.replace('.', '-')}"

    @cached_property
    def presets(self) -> dict[str, dict[str, float]]:
        """The values of each profile."""
        return {
            profile_pb2.Profile.Name(spec.profile): {
                "steps": float(spec.steps),
                "guidance_scale": spec.guidance_scale,
                "strength": spec.strength,
            }
            for spec in self.feature.profiles
        }


def default_of(spec: edit_pb2.ParameterSpec) -> str | float | bool | None:
    """The default value of a parameter."""
    if not spec.HasField("default"):
        return None
    kind = spec.default.WhichOneof("kind")
    value: str | float | bool | None = getattr(spec.default, kind) if kind else None
    return value
