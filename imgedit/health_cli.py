"""The command `imgedit health`: which services on this machine serve."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from imgedit import stack
from imgedit.console import out, print_json
from imgedit.exit_codes import ExitCode
from imgedit.ports import DEFAULT_BASE_PORT, SERVICES, Ports

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
        states = {service: stack.is_serving(ports.address(service)) for service in SERVICES}
        if all(states.values()) or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    if as_json:
        print_json({name: {"address": ports.address(name), "serving": serving} for name, serving in states.items()})
    else:
        for service, serving in states.items():
            state = "[green]SERVING[/]" if serving else "[red]NOT SERVING[/]"
            out.print(f"{service:13} {ports.address(service):16} {state}")
    raise typer.Exit(ExitCode.DONE if all(states.values()) else ExitCode.TRY_LATER)
