"""Streamlit's command line, which exits with 0 on SIGTERM, like the services."""

from __future__ import annotations

import logging
import signal
import sys
import time
from types import FrameType

from streamlit.web import cli


def _end(_signum: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    # uvicorn shuts down in order, restores this handler, and sends itself the signal again.
    signal.signal(signal.SIGTERM, _end)
    # UTC, as in the services' logs; the option logger.messageFormat adds the zone.
    logging.Formatter.converter = time.gmtime
    logging.Formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    cli.main(prog_name="streamlit")
