"""The servers: one package per service, and their shared code."""

import os

PROJECT = "imgedit-serving"
"""Tells this package from others called `services`; `imgedit.installation` looks for this line without an import."""

# gRPC's core logs plain lines to standard error, which may repeat a peer's data and so forge a log line. It reads this
# variable at import, so it is set here. The operator's own value wins.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
