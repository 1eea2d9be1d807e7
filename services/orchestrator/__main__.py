"""`python -m services.orchestrator`: serve the public API."""

from __future__ import annotations

import asyncio
import signal
import sys

if __name__ == "__main__":
    # Before the other imports, which take a while: SIGHUP waits until it is listened for, and ends nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

import grpc

from imgedit.imaging.decode_pool import Decoders
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.server import Service, run
from services.orchestrator import access, metrics, policy
from services.orchestrator.backends.clients import Backends
from services.orchestrator.catalogue.source import CatalogueSource
from services.orchestrator.edits.admission import Admission, Limit
from services.orchestrator.edits.editor import Editor
from services.orchestrator.edits.registry import EditRegistry, Limits
from services.orchestrator.listing.availability import Availability
from services.orchestrator.request.prompts import PromptRules
from services.orchestrator.servicer import EditServicer
from services.orchestrator.settings import OrchestratorSettings


def make_service(settings: OrchestratorSettings) -> Service:
    """The service, not started. It is ready even while a model service is not: an edit then names the stage."""
    source = CatalogueSource(settings.experiments)
    content_policy = policy.load(settings.content_policy) if settings.content_policy else None
    gate, open_channel = access.public_gate(settings), access.service_channels(settings)
    decoders = Decoders(settings.decode_processes, settings.decode_seconds, on_lost=metrics.DECODERS_LOST.inc)
    rules = prompt_rules(settings)
    backends: list[Backends] = []
    availability: list[Availability] = []

    def register(server: grpc.aio.Server) -> None:
        # Here and not above: channels belong to the running event loop.
        backends.append(Backends(settings.addresses, open_channel, rerun_wait_seconds=settings.rerun_wait_seconds))
        availability.append(Availability(backends[0].channels))
        admission = Admission(
            Limit(settings.max_edits, settings.max_edit_bytes),
            Limit(settings.max_edits_per_caller, settings.max_edit_bytes_per_caller),
        )
        editor = Editor(
            source,
            backends[0],
            decoders,
            admission=admission,
            max_pixels=settings.max_pixels,
            work_pixels=settings.work_pixels,
            max_answer_bytes=settings.max_send_bytes,
            metadata_prompt=settings.metadata_prompt,
            prompts=rules,
            policy=content_policy,
        )
        kept = Limits(settings.kept_answer_seconds, settings.max_kept_answers, settings.max_kept_bytes)
        registry = EditRegistry(kept)
        servicer = EditServicer(
            source, availability[0], editor, registry, admission, rules, max_in_batch=settings.max_in_batch
        )
        edit_pb2_grpc.add_EditServiceServicer_to_server(servicer, server)

    async def start() -> None:
        await asyncio.gather(decoders.start(), availability[0].start())

    async def stop() -> None:
        for watch in availability:
            await watch.stop()
        for backend in backends:
            await backend.close()
        if content_policy:
            content_policy.close()
        decoders.close()

    full_name = edit_pb2.DESCRIPTOR.services_by_name["EditService"].full_name
    return Service((full_name,), register, start=start, stop=stop, reload=source.reload, gate=gate)


def prompt_rules(settings: OrchestratorSettings) -> PromptRules:
    """Which languages are read and rewritten, as the settings say."""
    return PromptRules(
        read={
            "fill": tuple(settings.fill_languages.split(",")),
            "qwen_edit": tuple(settings.qwen_edit_languages.split(",")),
        },
        rewritten=tuple(settings.rewritten_languages.split(",")),
        has_service=bool(settings.prompt),
    )


if __name__ == "__main__":
    sys.exit(run(make_service, OrchestratorSettings))
