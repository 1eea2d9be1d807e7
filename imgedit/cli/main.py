"""The command `imgedit`: run the services on this machine, and call them.

Files become bytes here and bytes become files; all else is the client's and the servers' work.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from imgedit import __version__
from imgedit.cli import batch, catalogue, edit, experiments, health, inspect, models, tokens
from imgedit.cli.console import Lang, adapt_streams
from imgedit.cli.exit_codes import EPILOG
from imgedit.cli.help_layout import Command, Group
from imgedit.cli.machine import doctor, status, up


class _App(typer.Typer):
    """Typer for whatever encoding the terminal has; its help, too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        adapt_streams()
        return super().__call__(*args, **kwargs)


app = _App(
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    help="Image editing with BEN2, FLUX.1-Fill and Qwen-Image-Edit. Start the services with `imgedit up`, then edit "
    "with `imgedit edit`; `imgedit experiments` lists what there is.",
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"imgedit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
    lang: Lang = None,
) -> None:
    """Take what concerns every command. The text for people is the help above."""


app.command("up", cls=Command)(up.up)
app.command("edit", cls=Command)(edit.edit)
app.command("batch", cls=Command)(batch.batch)
app.command("experiments", cls=Command)(experiments.experiments)
app.command("health", cls=Command)(health.health)
app.command("status", cls=Command)(status.status)
app.command("stop", cls=Command)(status.stop)
app.command("doctor", cls=Command)(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(tokens.app, name="tokens")
app.command("inspect", cls=Command)(inspect.inspect)


if __name__ == "__main__":
    app()
