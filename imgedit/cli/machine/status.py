"""The commands `imgedit status` and `imgedit stop`.

Their stacks are those that `imgedit up` runs on this machine.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from imgedit.cli.console import fail, out, plain, print_json, say
from imgedit.cli.exit_codes import ExitCode
from imgedit.local import running
from imgedit.local.services import SERVICES
from imgedit.local.supervisor import STOP_SECONDS, readiness_fault, serving_fault

BasePort = Annotated[
    int | None, typer.Option(help="Port of the orchestrator of one stack. [default: every stack of this user]")
]

_STOP_MARGIN_SECONDS = 5.0
"""Time that a stack may take to end, beyond its services' time."""


def status(
    base_port: BasePort = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the stacks on this machine: their services, addresses and logs.

    Exit code 0: a stack runs and everything in it serves; 4: otherwise.
    """
    found = [(record, _faults(record)) for record in _records(base_port)]
    if as_json:
        print_json({"stacks": [_described(record, faults) for record, faults in found]})
    elif not found:
        out.print(say("nothing runs here; `imgedit up` starts the services"))
    else:
        for record, faults in found:
            _print(record, faults)
    is_well = bool(found) and all(record.ready and not any(faults.values()) for record, faults in found)
    raise typer.Exit(ExitCode.DONE if is_well else ExitCode.TRY_LATER)


def stop(base_port: BasePort = None) -> None:
    """End a stack on this machine, started from any terminal.

    Running edits get a few seconds.

    Exit code 0: it has ended, or none ran.
    """
    records = _records(base_port)
    if len(records) > 1:
        ports = ", ".join(str(record.base_port) for record in records)
        fail(say("several stacks run; choose one by --base-port: {ports}", ports=ports), ExitCode.USAGE)
    if not records:
        out.print(say("nothing runs here"))
        return
    [record] = records
    os.kill(record.pid, signal.SIGTERM)
    out.print(say("stopping …"))
    if not running.wait_until_gone(record, STOP_SECONDS + _STOP_MARGIN_SECONDS):
        fail(say("the stack with process {pid} does not end; its logs are in {logs}", pid=record.pid, logs=record.logs))
    out.print(say("stopped"))


def _records(base_port: int | None) -> list[running.Record]:
    return [record for record in running.running_stacks() if base_port in (None, record.base_port)]


def _faults(record: running.Record) -> dict[str, str | None]:
    """Why each program does not serve; None where it does."""
    return {name: _fault(record, name) for name in record.programs}


def _fault(record: running.Record, name: str) -> str | None:
    """The fault of a program, or None.

    A gRPC service is checked by its health at its public address, any other program as `up` checks it.
    """
    speaks_grpc = name.partition("-")[0] in SERVICES
    if speaks_grpc or name not in record.ready_at:
        return serving_fault(record.programs[name])
    return readiness_fault(*record.ready_at[name])


def _print(record: running.Record, faults: dict[str, str | None]) -> None:
    since = datetime.fromtimestamp(record.started, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    counts = Counter(fault is None for fault in faults.values())
    state = say("ready") if record.ready else say("starting")
    line = say("{state}: process {pid} since {since}", state=state, pid=record.pid, since=since)
    out.print(f"[bold]{plain(line)}[/] ({counts[True]}/{len(faults)})", highlight=False, soft_wrap=True)
    for name, fault in faults.items():
        shown = f"[red]NOT SERVING[/]  [dim]{plain(fault)}[/]" if fault else "[green]SERVING[/]"
        out.print(f"  {name:14} {record.programs[name]:16} {shown}", highlight=False, soft_wrap=True)
    out.print(plain(say("  logs: {logs}", logs=record.logs)), highlight=False, soft_wrap=True)


def _described(record: running.Record, faults: dict[str, str | None]) -> dict[str, Any]:
    programs = {
        name: {"address": record.programs[name], "serving": fault is None, **({"reason": fault} if fault else {})}
        for name, fault in faults.items()
    }
    told = {key: value for key, value in asdict(record).items() if key != "ready_at"}
    return {**told, "programs": programs}
