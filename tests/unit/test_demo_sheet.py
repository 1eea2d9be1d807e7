"""The demo's contact sheet: every edit is on it, in the picture and on the page, Korean included."""

from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from demo import sheet, world
from demo.__main__ import EXAMPLES, SAMPLES
from demo.sheet import Entry
from demo.world import prompts


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    cutout, result = tmp_path / "cutout.png", tmp_path / "result.png"
    Image.new("RGBA", (256, 256), (0, 0, 0, 0)).save(cutout)
    Image.new("RGB", (384, 256), "red").save(result)
    return [
        Entry("배경을 <공원>으로", "to a park", "inpainting", "balanced", 1.25, SAMPLES / "turned.jpg", cutout, result),
        Entry("a gym", "a gym", "inpainting", "fast", 0.5, SAMPLES / "tall-at-night.jpg", cutout, result),
        Entry("a wall", "a wall", "inpainting", "fast", 0.5, SAMPLES / "gym-shirt.png", cutout, result),
    ]


def test_the_picture_shows_every_result(entries, tmp_path):
    sheet.write_picture(tmp_path / "sheet.png", entries)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    red = (pixels == (255, 0, 0)).all(-1).sum()
    assert red == pytest.approx(3 * 312 * 208, rel=0.01)


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(entries, tmp_path):
    page = tmp_path / "sheet.html"
    sheet.write_page(page, entries, title="A title", note="A note & more")
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 9
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "배경을 &lt;공원&gt;으로" in text
    assert "A note &amp; more" in text
    assert "the model saw: to a park · inpainting, balanced · 1.2 s" in text


def test_a_prompt_that_was_not_translated_is_said_once(entries):
    assert entries[1].details == "inpainting, fast · 0.5 s"


def test_the_font_has_every_letter_of_the_worlds_prompts():
    font = ImageFont.truetype(sheet.FONT, 20)
    missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
    rng = random.Random(3)
    letters = {letter for _ in range(5000) for letter in prompts.sample(rng).korean if letter != " "}
    letters |= set("".join(example.prompt for example in EXAMPLES) + "the model saw: a, b · 1.2 s") - {" "}
    assert not [x for x in letters if (font.getmask(x).getbbox(), bytes(font.getmask(x))) == missing]


def test_the_examples_name_samples_and_prompts_of_the_world():
    places = {phrase.korean for kind in world.BACKGROUNDS[:-1] for phrase in prompts.backgrounds(kind)}
    for example in EXAMPLES:
        assert (SAMPLES / example.sample).is_file()
        if example.feature == "inpainting" and not example.prompt.isascii():
            assert example.prompt in places
