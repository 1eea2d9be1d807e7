"""`python -m services.segmentation.convert FILE.pth FILE.safetensors`.

BEN2's weights without the pickle, read with `weights_only` after the archive is checked. The entries must be those of
the network.
"""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from imgedit.errors import ModelLoadError
from services.common.conversion import Begin, Order, refuse_existing, run
from services.segmentation.ben2.loading import read_weights


def convert(order: Order, scratch: Path, begin: Begin) -> Path:
    """See `services.common.conversion.Convert`."""
    if order.source.suffix != ".pth" or order.target.suffix != ".safetensors":
        raise ModelLoadError("convert FILE.pth to FILE.safetensors")
    refuse_existing([order.target])
    tensors = {name: tensor.clone() for name, tensor in read_weights(order.source, order.config).items()}
    total = sum(tensor.nbytes for tensor in tensors.values())
    advance = begin(total)
    save_file(tensors, scratch / order.target.name, metadata={"format": "pt"})
    advance(total)
    return order.target.parent


if __name__ == "__main__":
    sys.exit(run(convert, ("auto",)))
