"""The command `imgedit health`: check a server and its experiments' services."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import Lang, message, out, plain, print_json, say
from imgedit.cli.exit_codes import ExitCode
from imgedit.errors import ImgeditError, PermissionDenied, Unauthenticated
from imgedit.sync_client import SyncEditClient
from imgedit.v1 import edit_pb2

POLL_SECONDS = 0.3
RESPONSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Report:
    """The result of one check.

    experiments: None = the server does not show them to this caller. reason: why it does not serve.
    """

    serving: bool
    experiments: Sequence[edit_pb2.Experiment] | None = None
    reason: str = ""

    @property
    def is_well(self) -> bool:
        return self.serving and all(experiment.available for experiment in self.experiments or ())


@connecting
def health(
    connect: Connect,
    wait: Annotated[float, typer.Option(help="Seconds to wait for all services to serve.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    lang: Lang = None,
) -> None:
    """Check that the server and all services of its experiments are serving.

    Exit code 0: all do; 4: not all. `imgedit status` shows the processes of a stack on this machine.
    """
    connection = connect()
    deadline = time.monotonic() + wait
    with connection.open() as client:
        while not (report := _look(client)).is_well and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    if as_json:
        print_json(_described(report, connection.target))
    else:
        _print(report, connection.target)
    raise typer.Exit(ExitCode.DONE if report.is_well else ExitCode.TRY_LATER)


def _look(client: SyncEditClient) -> _Report:
    try:
        return _Report(True, client.experiments(timeout=RESPONSE_SECONDS))
    except (Unauthenticated, PermissionDenied) as error:
        return _Report(client.is_serving(timeout=RESPONSE_SECONDS), None, message(error))
    except ImgeditError as error:
        return _Report(False, None, message(error))


def _print(report: _Report, target: str) -> None:
    rows = [(target, report.serving, report.reason)]
    for experiment in report.experiments or ():
        services = ", ".join(experiment.unavailable_services)
        reason = "" if experiment.available else say("{services} not serving", services=services)
        rows.append((experiment.id, experiment.available, reason))
    column = max(len(name) for name, *_ in rows)
    for name, is_serving, reason in rows:
        state = "[green]SERVING[/]" if is_serving else "[red]NOT SERVING[/]"
        detail = f"  [dim]{plain(reason)}[/]" if reason else ""
        out.print(f"{plain(name)}{' ' * (column - len(name))}  {state}{detail}", soft_wrap=True, highlight=False)


def _described(report: _Report, target: str) -> dict[str, Any]:
    listed = [
        {
            "id": experiment.id,
            "available": experiment.available,
            "unavailable_services": list(experiment.unavailable_services),
        }
        for experiment in report.experiments or ()
    ]
    return {"target": target, "serving": report.serving, "reason": report.reason, "experiments": listed}
