"""Shell completion of experiment and feature ids from the server.

Without a response within a second it offers nothing; it never prints an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from imgedit.cli.connection import connection_by
from imgedit.errors import ImgeditError
from imgedit.v1 import edit_pb2

RESPONSE_SECONDS = 1.0

Offer = list[tuple[str, str]]


def experiments(ctx: typer.Context) -> Offer:
    """Ids with names."""
    return [(found.id, found.name) for found in _found(ctx.params)]


def features(ctx: typer.Context) -> Offer:
    """Ids with names: of the experiment that is chosen already, else of all."""
    chosen = ctx.params.get("experiment")
    listed = [found for found in _found(ctx.params) if chosen in (None, found.id)]
    return [(feature.id, feature.name) for found in listed for feature in found.features]


def loras(ctx: typer.Context) -> Offer:
    """Names with models.

    Of the experiment and feature that are chosen already, else of all.
    """
    experiment, feature = ctx.params.get("experiment"), ctx.params.get("feature")
    listed = [found for found in _found(ctx.params) if experiment in (None, found.id)]
    chosen = [one for found in listed for one in found.features if feature in (None, one.id)]
    return [*dict.fromkeys((lora.name, lora.model_id) for one in chosen for lora in one.loras)]


def _found(params: Mapping[str, Any]) -> list[edit_pb2.Experiment]:
    try:
        with connection_by(params).open() as client:
            return client.experiments(timeout=RESPONSE_SECONDS)
    except (ImgeditError, typer.Exit):
        return []
