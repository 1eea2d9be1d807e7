"""imgedit: image editing as gRPC microservices. Clients need no torch.

    EditClient, SyncEditClient      call a server, from asyncio or from plain code
    EditOptions                     the options of an edit, as a TypedDict
    Mask, Outpaint, Output          values of three of these options
    EditResult                      a finished edit: its pictures, its seed, what was used
    EditStatus                      where an edit is: the answer of `get_edit`
    EditEstimate                    how long an edit would take: the answer of `estimate`
    Progress, ManyProgress          what `on_progress` of `edit` and of `edit_many` is called with
    edit_request                    the API's own message, for `edit_stream` and `edit_batch`
    imgedit.errors                  every exception of a server

Names are loaded at their first use, so that the command line starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgedit import errors as errors
    from imgedit.client import EditClient
    from imgedit.progress import Progress
    from imgedit.request import EditOptions, edit_request
    from imgedit.result import EditEstimate, EditResult, EditStatus, ManyProgress
    from imgedit.sync_client import SyncEditClient
    from imgedit.values import Mask, Outpaint, Output

__version__ = "0.1.0"
__all__ = [
    "EditClient",
    "EditEstimate",
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
    "EditEstimate": "imgedit.result",
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

_ERRORS = "errors"
"""A module that is available without its own import."""


def __getattr__(name: str) -> Any:
    if name == _ERRORS:
        return import_module("imgedit.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__, _ERRORS})
