"""The command `imgedit`: run the services on this machine, and call them.

Files become bytes here and bytes become files; all else is the client's and the servers' work.
"""

from __future__ import annotations

from typing import Any

import typer

from imgedit.cli import batch, catalogue, doctor, edit, experiments, health, inspect, models, tokens, up
from imgedit.cli.console import adapt_streams
from imgedit.cli.exit_codes import EPILOG


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
app.command("up")(up.up)
app.command("edit")(edit.edit)
app.command("batch")(batch.batch)
app.command("experiments")(experiments.experiments)
app.command("health")(health.health)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(tokens.app, name="tokens")
app.command("inspect")(inspect.inspect)


if __name__ == "__main__":
    app()
