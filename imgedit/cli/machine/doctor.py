"""The command `imgedit doctor`: the findings as a table or as JSON."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from imgedit.cli.console import err, out, print_json
from imgedit.cli.exit_codes import ExitCode
from imgedit.local import doctor as checks
from imgedit.local.doctor_memory import memory_needs
from imgedit.local.doctor_weights import weights
from imgedit.local.gpu_spread import for_compose
from imgedit.local.ports import (
    DEFAULT_BASE_PORT,
    DEFAULT_GATEWAY_PORT,
    DEFAULT_METRICS_BASE_PORT,
    DEFAULT_STUDIO_PORT,
    Ports,
)

COLOURS = {"OK": "green", "NOTE": "cyan", "WARN": "yellow", "FAIL": "red"}


def doctor(
    models: Annotated[
        Path | None,
        typer.Option(help="Folder that holds BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509.", envvar="IMGEDIT_MODELS"),
    ] = None,
    base_port: Annotated[
        int, typer.Option(help="Port of the orchestrator, as for `imgedit up`.", min=1, max=65532)
    ] = DEFAULT_BASE_PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check Python, packages, devices, memory, disk, ports, weights and licences.

    Prints advice for each finding. Exit code 0: no FAIL; 1: a FAIL.
    """
    metrics = DEFAULT_METRICS_BASE_PORT if base_port == DEFAULT_BASE_PORT else base_port + 100
    ports = Ports(base_port, metrics, gateway=DEFAULT_GATEWAY_PORT, studio=DEFAULT_STUDIO_PORT)
    with err.status("looking …"):
        found = [*checks.machine(ports), *checks.proxies(os.environ), *checks.settings_of(os.environ), *weights(models)]
        found += [*memory_needs(models), *for_compose(models, os.environ)]
    counts = Counter(finding.state for finding in found)
    if as_json:
        print_json({"ok": not counts["FAIL"], "findings": [asdict(finding) for finding in found]})
    else:
        table = Table("what", "state")
        table.add_column("found", overflow="fold")
        table.add_column("what to do", overflow="fold")
        for finding in found:
            state = f"[{COLOURS[finding.state]}]{finding.state}[/]"
            table.add_row(finding.name, state, escape(finding.found), escape(finding.advice))
        out.print(table)
        out.print(f"{counts['FAIL']} in the way, {counts['WARN']} to be aware of")
    raise typer.Exit(ExitCode.FAILED if counts["FAIL"] else ExitCode.DONE)
