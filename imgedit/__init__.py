"""imgedit: image editing as gRPC microservices. This package is what a client installs; it needs no torch."""

from imgedit.client import EditClient, SyncEditClient

__version__ = "0.1.0"
__all__ = ["EditClient", "SyncEditClient", "__version__"]
