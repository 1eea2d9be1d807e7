"""The catalogue in force, and its reload.

A new catalogue replaces the old one as a whole: a running edit keeps its own.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from imgedit.errors import SettingsError
from services.orchestrator import metrics
from services.orchestrator.catalogue import models
from services.orchestrator.catalogue.models import Catalogue

_log = logging.getLogger(__name__)


class CatalogueSource:
    """A catalogue file.

    Raises `SettingsError` if it is invalid at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current = models.load(path)
        self._reading = asyncio.Lock()
        metrics.CATALOGUE_READ.set_to_current_time()

    @property
    def current(self) -> Catalogue:
        """The catalogue in force.

        Get it once per call: a reload may replace it.
        """
        return self._current

    async def reload(self) -> None:
        """Reload the file.

        Faults are logged, and the catalogue in force stays.
        """
        async with self._reading:
            try:
                self._current = await asyncio.to_thread(models.load, self._path)
            except SettingsError as error:
                metrics.CATALOGUE_RELOADS.labels("failed").inc()
                faults = str(error).splitlines()
                _log.error("the catalogue has faults, the one before stays in force", extra={"faults": faults})
                return
        metrics.CATALOGUE_RELOADS.labels("done").inc()
        metrics.CATALOGUE_READ.set_to_current_time()
        _log.info("the catalogue was read again", extra={"experiments": [e.id for e in self._current.experiments]})
