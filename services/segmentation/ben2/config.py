"""The sizes of a BEN2 network.

`BEN2Config()` is the official base network (94.1 M parameters); other values describe a network of the same shape at
another scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

PATCH_SIZE = 4  # pixels per side of one backbone token
VIEWS = 5  # four quadrants, row by row, then the whole image at half size


@dataclass(frozen=True, slots=True)
class BEN2Config:
    """Sizes of the network; the defaults are the official ones.

    Raises ValueError, naming the field, for impossible sizes.
    """

    image_size: int = 1024
    """Side S in pixels of the square input; the backbone sees five pictures of side S / 2."""
    embed_dim: int = 128
    """Channels of a token in the first backbone stage; each stage doubles it."""
    depths: tuple[int, ...] = (2, 2, 18, 2)
    """Swin blocks per stage; always four stages."""
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    """Attention heads per stage."""
    window_size: int = 12
    """Side of an attention window in tokens."""
    mlp_ratio: int = 4
    """Width of a Swin block's hidden layer over the width of its tokens."""
    decoder_dim: int = 128
    """Channels everywhere in the decoder."""
    head_dim: int = 384
    """Channels inside the mask head."""
    localization_pool_ratios: tuple[int, ...] = (1, 4, 8)
    """The joined quadrants are averaged down to (quadrant side / ratio) before the whole picture attends to them."""
    refinement_pool_ratios: tuple[int, ...] = (2, 4, 8)
    """The quarters of the whole picture are averaged down to (side / ratio) before the quadrants attend to them."""

    def __post_init__(self) -> None:
        for name in ("image_size", "embed_dim", "window_size", "mlp_ratio", "decoder_dim", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"BEN2 config: {name} must be positive, got {getattr(self, name)}")
        for name in ("depths", "num_heads"):
            if len(getattr(self, name)) != 4 or min(getattr(self, name)) < 1:
                raise ValueError(f"BEN2 config: {name} must be four positive numbers, got {getattr(self, name)}")
        if self.image_size % (2 * PATCH_SIZE * 16):
            raise ValueError(f"BEN2 config: image_size must be a multiple of 128, got {self.image_size}")
        if self.window_size < 2:
            raise ValueError(f"BEN2 config: window_size must be at least 2, got {self.window_size}")
        if self.decoder_dim % 4:
            raise ValueError(f"BEN2 config: decoder_dim must be a multiple of 4, got {self.decoder_dim}")
        for stage, (dim, heads) in enumerate(zip(self.stage_dims, self.num_heads, strict=True)):
            if dim % heads:
                raise ValueError(f"BEN2 config: num_heads[{stage}] = {heads} does not divide the {dim} channels")
        self._check_pools("localization_pool_ratios", self.stage_sides[3])
        for side in self.stage_sides[:3]:
            self._check_pools("refinement_pool_ratios", side, multiple_of=2)

    def _check_pools(self, name: str, side: int, multiple_of: int = 1) -> None:
        ratios: tuple[int, ...] = getattr(self, name)
        if not ratios or any(ratio < 1 or ratio % multiple_of or side % ratio for ratio in ratios):
            kind = "even and divide" if multiple_of == 2 else "positive and divide"
            raise ValueError(f"BEN2 config: every one of {name} must be {kind} the map side {side}, got {ratios}")

    @property
    def stage_dims(self) -> tuple[int, int, int, int]:
        """Channels of the four stages."""
        return self.embed_dim, 2 * self.embed_dim, 4 * self.embed_dim, 8 * self.embed_dim

    @property
    def stage_sides(self) -> tuple[int, int, int, int]:
        """Side, in tokens, of one view's map after each of the four stages."""
        first = self.image_size // 2 // PATCH_SIZE
        return first, first // 2, first // 4, first // 8

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> BEN2Config:
        """The config in `values` (a parsed config.json), ignoring unknown keys.

        The official config.json has none of our keys and gives the official sizes. Raises ValueError for one of our
        keys whose value is not an integer or a list of integers.
        """
        sizes: dict[str, int | tuple[int, ...]] = {}
        for field in fields(cls):
            if field.name in values:
                sizes[field.name] = _size(field.name, values[field.name], isinstance(field.default, tuple))
        return cls(**sizes)  # type: ignore[arg-type]


def _size(name: str, value: object, several: bool) -> int | tuple[int, ...]:
    if several and isinstance(value, list) and all(type(number) is int for number in value):
        return tuple(value)
    if not several and type(value) is int:
        return value
    raise ValueError(f"BEN2 config: {name} must be {'a list of whole numbers' if several else 'a whole number'}")
