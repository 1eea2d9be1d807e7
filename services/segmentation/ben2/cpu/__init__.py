"""BEN2 prepared for processors.

The same function as `services.segmentation.ben2.network`, several times faster.
"""

from services.segmentation.ben2.cpu.network import PreparedBEN2

__all__ = ["PreparedBEN2"]
