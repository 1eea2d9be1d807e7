"""The catalogue in force, and the reading of its file again.

A new catalogue takes the place of the old one as a whole: an edit that has begun goes on with the one it began with.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from imgedit.errors import SettingsError
from services.orchestrator import metrics
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import Catalogue

_log = logging.getLogger(__name__)


class CatalogueSource:
    """A catalogue file. Raises `SettingsError` where it cannot be used at the start."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current = experiments.load_catalogue(path)
        self._reading = asyncio.Lock()
        metrics.CATALOGUE_READ.set_to_current_time()

    @property
    def current(self) -> Catalogue:
        """The catalogue in force. To be asked for once per call: the next one may be another."""
        return self._current

    async def reload(self) -> None:
        """Read the file again; one with faults is logged, and the catalogue in force stays."""
        async with self._reading:
            try:
                self._current = await asyncio.to_thread(experiments.load_catalogue, self._path)
            except SettingsError as error:
                metrics.CATALOGUE_RELOADS.labels("failed").inc()
                faults = str(error).splitlines()
                _log.error("the catalogue has faults, the one before stays in force", extra={"faults": faults})
                return
        metrics.CATALOGUE_RELOADS.labels("done").inc()
        metrics.CATALOGUE_READ.set_to_current_time()
        _log.info("the catalogue was read again", extra={"experiments": [e.id for e in self._current.experiments]})
