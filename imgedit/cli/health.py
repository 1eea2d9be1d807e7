"""The command `imgedit health`: which services on this machine serve."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.markup import escape

from imgedit.cli.console import out, print_json
from imgedit.cli.exit_codes import ExitCode
from imgedit.local import supervisor
from imgedit.local.ports import DEFAULT_BASE_PORT, Ports
from imgedit.local.services import SERVICES

POLL_SECONDS = 0.3


def health(
    wait: Annotated[float, typer.Option(help="Wait so many seconds for all services to serve.", min=0)] = 0,
    base_port: Annotated[int, typer.Option(help="Port of the orchestrator.")] = DEFAULT_BASE_PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show whether each service on this machine serves.

    Exit code 0: all do; 4: not all.
    """
    ports = Ports(base_port)
    deadline = time.monotonic() + wait
    while True:
        faults = {service: supervisor.serving_fault(ports.address(service)) for service in SERVICES}
        if not any(faults.values()) or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    if as_json:
        print_json(
            {
                name: {"address": ports.address(name), "serving": fault is None, **({"reason": fault} if fault else {})}
                for name, fault in faults.items()
            }
        )
    else:
        for service, fault in faults.items():
            state = f"[red]NOT SERVING[/]  [dim]{escape(fault)}[/]" if fault else "[green]SERVING[/]"
            out.print(f"{service:13} {ports.address(service):16} {state}", soft_wrap=True, highlight=False)
    raise typer.Exit(ExitCode.TRY_LATER if any(faults.values()) else ExitCode.DONE)
