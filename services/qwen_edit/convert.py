"""`python -m services.qwen_edit.convert SOURCE TARGET`.

Qwen-Image-Edit's transformer from GGUF to safetensors and back.
"""

import sys
from functools import partial

from services.common.conversion import run
from services.diffusion.weights.convert import TYPES, convert
from services.qwen_edit.gguf_names import LAYOUT

if __name__ == "__main__":
    sys.exit(run(partial(convert, LAYOUT, "qwen_image"), TYPES))
