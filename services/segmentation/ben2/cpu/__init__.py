"""BEN2 prepared for CPUs.

The same function as the plain network, several times faster.
"""

from services.segmentation.ben2.cpu.network import PreparedBEN2

__all__ = ["PreparedBEN2"]
