"""The servers: one package per service, and the packages that they share.

No service imports another one.
"""

import os

PROJECT = "imgedit-serving"
"""Tells this package from others called `services`; `imgedit.installation` looks for this line without an import."""

# gRPC's core writes plain lines to standard error, which may repeat what a peer sent and so forge a line of the log. It
# reads this variable when it is imported, which this package is before; set by the operator, it stays.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
