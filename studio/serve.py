"""Streamlit's command line, ended with exit code 0 by SIGTERM, as the services are."""

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
    # uvicorn shuts down in order, puts this handler back, and sends itself the signal once more.
    signal.signal(signal.SIGTERM, _end)
    # UTC, as in the services' logs; the option logger.messageFormat adds the zone.
    logging.Formatter.converter = time.gmtime
    logging.Formatter.default_time_format = "%Y-%m-%dT%H:%M:%S"
    cli.main(prog_name="streamlit")
