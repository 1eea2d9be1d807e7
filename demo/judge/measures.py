"""Pixel measures of shirts and colours against a redrawn scene.

The redrawn scene has the same pose, light and shade. No training is needed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageFilter

from demo.judge.judge import cut
from demo.world import COLOURS, WORDS, Background, Scene, person_of, render, text_box, with_person

MAX_SHIFT = 2
"""Pixels that a word may be off its place, in each direction."""

REST_MARGIN = 4
"""Pixels around the shirt that are neither shirt nor rest: an autoencoder carries a new colour over the edge."""

LUMINANCE = (0.299, 0.587, 0.114)

DIRECTIONS = 16
QUANTILES = 128


def shirt_colour(picture: np.ndarray, scene: Scene) -> str:
    """The nearest shirt colour in `picture`, (H, W, 3) uint8.

    scene: the target. Its shirt is drawn in each colour, and the nearest mean colour wins, over the pixels that are
    wholly shirt, without the text box.
    """
    inside = shirt_mask(scene) == 255
    if person_of(scene).shirt_text:
        left, top, right, bottom = text_box(person_of(scene), scene.width, scene.height)
        inside[max(0, top) : bottom, max(0, left) : right] = False
    bare = replace(scene, background=Background("plain", "grey", 0), props=())
    means = {colour: _drawn(bare, shirt=colour)[inside].mean(0) for colour in COLOURS}
    return min(means, key=lambda colour: float(np.linalg.norm(means[colour] - picture[inside].mean(0))))


def rest_change(picture: np.ndarray, original: np.ndarray, scene: Scene) -> float:
    """Mean difference of two images outside the shirt, as a share of a pixel's range."""
    shirt = Image.fromarray(shirt_mask(scene))
    rest = np.asarray(shirt.filter(ImageFilter.MaxFilter(2 * REST_MARGIN + 1))) == 0
    return float(np.abs(picture.astype(int) - original)[rest].mean() / 255)


def shirt_mask(scene: Scene) -> np.ndarray:
    """(H, W) uint8: how much of each pixel is shirt, words included."""
    return render(scene, parts=True).parts["shirt"]


def word(picture: np.ndarray, scene: Scene) -> str:
    """The clearest word on the shirt; there is always one.

    scene: the target. Each word is drawn into it, and its text box is searched in `picture` by normalised
    cross-correlation of luminance, at shifts up to `MAX_SHIFT`.
    """
    left, top, right, bottom = text_box(person_of(scene), scene.width, scene.height)
    wide = (left - MAX_SHIFT, top - MAX_SHIFT, right + MAX_SHIFT, bottom + MAX_SHIFT)
    windows = sliding_window_view(_luminance(cut(picture, wide)), (bottom - top, right - left))
    templates = {name: _luminance(cut(_drawn(scene, shirt_text=name), (left, top, right, bottom))) for name in WORDS}
    return max(templates, key=lambda name: float(_correlation(windows, templates[name]).max()))


def palette_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The distance between the colours of two images, in levels of 255.

    The sliced earth mover's distance of their pixels as points in RGB (Bonneel et al., "Sliced and Radon Wasserstein
    Barycenters of Measures", 2015): the mean quantile difference along several directions.
    """
    return float(np.abs(_quantiles(a) - _quantiles(b)).mean())


def _quantiles(picture: np.ndarray) -> np.ndarray:
    """(DIRECTIONS, QUANTILES) of its pixels."""
    along = np.sort(_directions() @ picture.reshape(-1, 3).T, axis=1)
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES * along.shape[1]
    return along[:, places.astype(int)]


def _directions() -> np.ndarray:
    """(DIRECTIONS, 3): unit vectors spread evenly over half a sphere, along a spiral."""
    number = np.arange(DIRECTIONS)
    height = 1 - (number + 0.5) / DIRECTIONS
    turn = number * np.pi * (3 - 5**0.5)
    around = np.sqrt(1 - height**2)
    return np.stack([around * np.cos(turn), around * np.sin(turn), height], axis=1)


def _correlation(windows: np.ndarray, template: np.ndarray) -> np.ndarray:
    """(A, B) of `template` (H, W) with each of `windows` (A, B, H, W).

    0 where one of the two is flat.
    """
    windows = windows - windows.mean((2, 3), keepdims=True)
    template = template - template.mean()
    size = np.sqrt((windows**2).sum((2, 3)) * (template**2).sum())
    found: np.ndarray = (windows * template).sum((2, 3)) / np.maximum(size, 1e-6)
    return found


def _drawn(scene: Scene, **changes: str) -> np.ndarray:
    return render(with_person(scene, **changes)).rgb


def _luminance(pixels: np.ndarray) -> np.ndarray:
    luminance: np.ndarray = pixels @ np.array(LUMINANCE)
    return luminance
