"""BEN2 as PyTorch modules: network, sizes, weights.

It knows no queue and no message.
"""

from services.segmentation.ben2.config import BEN2Config
from services.segmentation.ben2.loading import load, revision, weights_file
from services.segmentation.ben2.network import BEN2

__all__ = ["BEN2", "BEN2Config", "load", "revision", "weights_file"]
