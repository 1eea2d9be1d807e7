"""imgedit: image editing as gRPC microservices.

A client installs this package; it needs no torch.
"""

from imgedit.client import EditClient
from imgedit.progress import Progress
from imgedit.request import EditOptions, edit_request
from imgedit.sync_client import SyncEditClient

__version__ = "0.1.0"
__all__ = ["EditClient", "EditOptions", "Progress", "SyncEditClient", "__version__", "edit_request"]
