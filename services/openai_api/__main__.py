"""Serve OpenAI's image API in front of an orchestrator.

`python -m services.openai_api` starts it.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    # Before the other imports, which take a while: SIGHUP waits until it is listened for, and ends nothing.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})

from services.common.server import run_process
from services.openai_api.app import OpenAiApi
from services.openai_api.server import serve
from services.openai_api.settings import OpenAiApiSettings

if __name__ == "__main__":
    sys.exit(run_process(OpenAiApiSettings, OpenAiApi, serve))
