"""`python -m services.fill.convert SOURCE TARGET`.

FLUX.1-Fill's transformer from GGUF to safetensors and back.
"""

import sys
from functools import partial

from services.common.conversion import run
from services.diffusion.weights.convert import TYPES, convert
from services.fill.gguf_names import LAYOUT

if __name__ == "__main__":
    sys.exit(run(partial(convert, LAYOUT, "flux"), TYPES))
