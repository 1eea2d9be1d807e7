"""Bytes of activations by the size of the work, without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Activations:
    """Bytes of activations in a two-byte format, counted on torch's meta device.

    decode: of the VAE, per pixel. step: of the transformer, per pixel of all images of one job.
    """

    decode: int
    step: int
