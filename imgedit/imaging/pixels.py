"""The array that pixels are held in."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(H, W, 3) sRGB, or (H, W) of a mask or an alpha; 0 to 255."""
