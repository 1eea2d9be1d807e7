"""BEN2 prepared for processors: the same function, several times faster.

Only for processors; on other devices `services.segmentation.ben2.network` runs.
"""

from services.segmentation.ben2.cpu.network import PreparedBEN2

__all__ = ["PreparedBEN2"]
