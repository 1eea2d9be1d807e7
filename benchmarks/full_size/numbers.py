"""Made-up weights: one seeded pool of random numbers, repeated.

Every tensor begins at another place of the pool.

A matrix has the standard deviation 1 / sqrt(fan in), so that activations keep their size through any number of layers;
scales of norms are about 1, biases about 0. The pools have prime lengths, so no two rows of a matrix are alike.
Quantised blocks are drawn as they are stored: random numbers of a few bits under one small scale.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

SEED = 25
POOL = 1_000_003
BLOCK_POOL = 131_071
CHUNK = 16 * 1024 * 1024
"""Elements that are made at once."""

BLOCK = 32
"""Elements of a block of Q4_0 and of Q8_0, behind a scale of two bytes."""
LARGEST = {"Q4_0": 7, "Q8_0": 127}
"""The quantised numbers are drawn evenly from −n to n."""


@functools.cache
def _normals() -> NDArray[np.float32]:
    return np.random.default_rng(SEED).standard_normal(POOL, np.float32)


@functools.cache
def _blocks(kind: str) -> NDArray[np.uint8]:
    """(n, bytes): blocks with a scale of 0."""
    random, largest = np.random.default_rng(SEED), LARGEST[kind]
    numbers = random.integers(-largest, largest + 1, (BLOCK_POOL, BLOCK))
    if kind == "Q4_0":  # the first half of a block is in the low nibbles, and 8 means 0
        stored = (numbers + 8).astype(np.uint8)
        packed = stored[:, : BLOCK // 2] | (stored[:, BLOCK // 2 :] << 4)
    else:
        packed = numbers.astype(np.int8).view(np.uint8)
    return np.concatenate([np.zeros((BLOCK_POOL, 2), np.uint8), packed], axis=1)


def _place(name: str, length: int) -> int:
    return zlib.crc32(name.encode()) % length


def deviation(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of the numbers of a tensor of this name."""
    fan_in = math.prod(shape[1:])
    if name.endswith("bias") or fan_in > 1:
        return 0.0, 0.02 if name.endswith("bias") else 1 / math.sqrt(fan_in)
    return 1.0, 0.02  # the scale of a norm


def bfloat16(name: str, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint16]]:
    """The tensor's bits in bfloat16, at most `CHUNK` elements at a time."""
    bits = ((_pool(name, shape).view(np.uint32) + 0x8000) >> 16).astype(np.uint16)
    left = math.prod(shape)
    cycle = np.resize(bits, (min(left, CHUNK) // POOL + 1) * POOL)
    for begin in range(0, left, len(cycle)):
        yield cycle[: min(len(cycle), left - begin)]


def float32(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The whole tensor; for small ones."""
    return np.resize(_pool(name, shape), shape)


def quantised(name: str, shape: tuple[int, ...], kind: str) -> NDArray[np.uint8]:
    """A matrix in blocks: (rows, bytes of a row)."""
    rows, columns = shape
    largest = LARGEST[kind]
    even = math.sqrt(largest * (largest + 1) / 3)  # the deviation of whole numbers from −n to n
    blocks = _blocks(kind).copy()
    blocks[:, :2] = np.frombuffer(np.float16(deviation(name, shape)[1] / even).tobytes(), np.uint8)
    blocks = np.roll(blocks, _place(name, BLOCK_POOL), axis=0)
    return np.resize(blocks, (rows, columns // BLOCK * blocks.shape[1]))


def _pool(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    mean, spread = deviation(name, shape)
    return np.roll(_normals(), _place(name, POOL)) * np.float32(spread) + np.float32(mean)
