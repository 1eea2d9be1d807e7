"""Streamlit's command line, ended with exit code 0 by SIGTERM, as the services are."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from streamlit.web import cli


def _end(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    # uvicorn shuts down in order, puts this handler back, and sends itself the signal once more.
    signal.signal(signal.SIGTERM, _end)
    cli.main(prog_name="streamlit")
