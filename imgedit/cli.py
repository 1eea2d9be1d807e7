"""The command `imgedit`: run the services on this machine, and call them.

Files become bytes here and bytes become files; all else is the client's and the servers' work.
"""

from __future__ import annotations

from typing import Any

import typer

from imgedit import (
    batch_cli,
    catalogue_cli,
    doctor_cli,
    edit_cli,
    experiments_cli,
    health_cli,
    inspect_cli,
    models_cli,
    tokens_cli,
    up_cli,
)
from imgedit.console import adapt_streams
from imgedit.exit_codes import EPILOG


class _App(typer.Typer):
    """Typer for whatever encoding the terminal has; its help, too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        adapt_streams()
        return super().__call__(*args, **kwargs)


app = _App(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    help="Image editing with BEN2, FLUX.1-Fill and Qwen-Image-Edit. Start the services with `imgedit up`, then edit "
    "with `imgedit edit`; `imgedit experiments` lists what there is.",
)
app.command("up")(up_cli.up)
app.command("edit")(edit_cli.edit)
app.command("batch")(batch_cli.batch)
app.command("experiments")(experiments_cli.experiments)
app.command("health")(health_cli.health)
app.command("doctor")(doctor_cli.doctor)
app.add_typer(models_cli.app, name="models")
app.add_typer(catalogue_cli.app, name="catalogue")
app.add_typer(tokens_cli.app, name="tokens")
app.command("inspect")(inspect_cli.inspect)


if __name__ == "__main__":
    app()
