"""imgedit: image editing as gRPC microservices. Clients need no torch.

Its names are loaded on first use, so that the command line starts fast and without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgedit.client import EditClient
    from imgedit.progress import Progress
    from imgedit.request import EditOptions, edit_request
    from imgedit.result import EditResult, EditStatus, ManyProgress
    from imgedit.sync_client import SyncEditClient
    from imgedit.values import Mask, Outpaint, Output

__version__ = "0.1.0"
__all__ = [
    "EditClient",
    "EditOptions",
    "EditResult",
    "EditStatus",
    "ManyProgress",
    "Mask",
    "Outpaint",
    "Output",
    "Progress",
    "SyncEditClient",
    "__version__",
    "edit_request",
]

_HOMES = {
    "EditClient": "imgedit.client",
    "EditOptions": "imgedit.request",
    "EditResult": "imgedit.result",
    "EditStatus": "imgedit.result",
    "ManyProgress": "imgedit.result",
    "Mask": "imgedit.values",
    "Outpaint": "imgedit.values",
    "Output": "imgedit.values",
    "Progress": "imgedit.progress",
    "SyncEditClient": "imgedit.sync_client",
    "edit_request": "imgedit.request",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
