"""Streamlit's command line, which exits with 0 on SIGTERM, like the services."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from streamlit.web import cli


def _end(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    # uvicorn shuts down in order, restores this handler, and sends itself the signal again.
    signal.signal(signal.SIGTERM, _end)
    cli.main(prog_name="streamlit")
