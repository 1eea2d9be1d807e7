"""`python -m services.orchestrator`: serve the public API."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # Before the other imports, which take a while: SIGHUP must wait for its handler, not end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

import grpc

from imgedit.imaging.decode_pool import Decoders
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.server import Service, run_service
from services.orchestrator import access, metrics, policy
from services.orchestrator.backends.clients import Backends
from services.orchestrator.backends.lora_lists import LoraLists
from services.orchestrator.catalogue.source import CatalogueSource
from services.orchestrator.edits.admission import Admission, Limit
from services.orchestrator.edits.edit_registry import EditRegistry, Limits
from services.orchestrator.edits.editor import Editor
from services.orchestrator.listing.availability import Availability
from services.orchestrator.request.prompts import PromptRules
from services.orchestrator.servicer import EditServicer
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.webhooks.configured import configured_webhooks
from services.orchestrator.webhooks.network import PublicNetwork

if TYPE_CHECKING:  # redis takes a third of a second to import
    from services.orchestrator.edits.answer_store import AnswerStore


class Orchestrator:
    """The parts of one server."""

    def __init__(self, settings: OrchestratorSettings, webhook_network: PublicNetwork | None = None) -> None:
        """Create the parts.

        Raises `SettingsError` for an invalid catalogue or policy.
        """
        self._settings = settings
        self.source = CatalogueSource(settings.experiments)
        self._policy = policy.load(settings.content_policy) if settings.content_policy else None
        self._open_channel = access.service_channels(settings)
        self._decoders = Decoders(settings.decode_processes, settings.decode_seconds, on_lost=metrics.DECODERS_LOST.inc)
        self._webhooks = configured_webhooks(settings, webhook_network)

    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicer.

        Channels to the model services open here, because they belong to the event loop.
        """
        settings, rules = self._settings, prompt_rules(self._settings)
        self._backends = Backends(
            settings.addresses, self._open_channel, rerun_wait_seconds=settings.rerun_wait_seconds
        )
        self._availability = Availability(self._backends.channels)
        self._loras = LoraLists(self._backends.channels, self._availability.is_serving)
        admission = Admission(
            Limit(settings.max_edits, settings.max_edit_bytes),
            Limit(settings.max_edits_per_caller, settings.max_edit_bytes_per_caller),
        )
        self._store = _answer_store(settings, admission)
        editor = Editor(
            self.source,
            self._backends,
            self._decoders,
            admission=admission,
            max_pixels=settings.max_pixels,
            work_pixels=settings.work_pixels,
            max_response_bytes=settings.max_send_bytes,
            metadata_prompt=settings.metadata_prompt,
            prompts=rules,
            loras=self._loras,
            webhooks=self._webhooks,
            policy=self._policy,
        )
        kept = Limits(settings.kept_answer_seconds, settings.max_kept_answers, settings.max_kept_bytes)
        servicer = EditServicer(
            self.source,
            self._availability,
            editor,
            EditRegistry(kept, self._store),
            admission,
            rules,
            self._loras,
            max_in_batch=settings.max_in_batch,
        )
        edit_pb2_grpc.add_EditServiceServicer_to_server(servicer, server)

    async def start(self) -> None:
        """Start the decoders, the watch over the model services and the answer store."""
        if self._store is not None:
            await self._store.start()
        await asyncio.gather(self._decoders.start(), self._availability.start())
        await self._loras.start()

    async def stop(self) -> None:
        """Stop everything, after the last call has ended."""
        await self._webhooks.close()
        if self._store is not None:
            await self._store.stop()
        await self._loras.stop()
        await self._availability.stop()
        await self._backends.close()
        if self._policy:
            self._policy.close()
        self._decoders.close()


def make_service(settings: OrchestratorSettings, webhook_network: PublicNetwork | None = None) -> Service:
    """The service, not started.

    It is ready even while a model service is not: an edit then names the failed stage. webhook_network: opens the
    connections of webhooks; None = to public addresses only.
    """
    made = Orchestrator(settings, webhook_network)
    return Service(
        (edit_pb2.DESCRIPTOR.services_by_name["EditService"].full_name,),
        made.register,
        start=made.start,
        stop=made.stop,
        reload=made.source.reload,
        gate=access.public_gate(settings),
    )


def _answer_store(settings: OrchestratorSettings, admission: Admission) -> AnswerStore | None:
    """The store of the settings; None = each orchestrator keeps its own answers."""
    if not settings.store_url:
        return None
    from services.orchestrator.edits import store_connection

    return store_connection.open_store(settings, admission)


def prompt_rules(settings: OrchestratorSettings) -> PromptRules:
    """The languages that models read and that are translated, from the settings."""
    return PromptRules(
        read={
            "fill": tuple(settings.fill_languages.split(",")),
            "qwen_edit": tuple(settings.qwen_edit_languages.split(",")),
        },
        rewritten=tuple(settings.rewritten_languages.split(",")),
        has_service=bool(settings.prompt),
    )


if __name__ == "__main__":
    sys.exit(run_service(make_service, OrchestratorSettings))
