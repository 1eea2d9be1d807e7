"""imgedit: image editing as gRPC microservices.

A client installs this package; it needs no torch.
"""

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
