"""BEN2 as PyTorch modules: the network, its sizes, and its weight loading."""

from services.segmentation.ben2.config import BEN2Config
from services.segmentation.ben2.loading import load, revision, weights_file
from services.segmentation.ben2.network import BEN2

__all__ = ["BEN2", "BEN2Config", "load", "revision", "weights_file"]
