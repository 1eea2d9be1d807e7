"""The demo's contact sheet.

Every edit is on it, in the picture and on the page, Korean included.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from demo import sheet, world
from demo.__main__ import EXAMPLES, SAMPLES
from demo.sheet import Entry
from demo.world import prompts, samples
from services.orchestrator.catalogue import models

CATALOGUE = Path(__file__).parents[3] / "config" / "experiments.yaml"


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


def test_a_reference_is_shown_beside_its_original(entries, tmp_path):
    reference = tmp_path / "reference.png"
    Image.new("RGB", (128, 128), "blue").save(reference)
    sheet.write_picture(tmp_path / "sheet.png", [replace(entries[0], reference=reference), entries[1]])
    pixels = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert (pixels == (0, 0, 255)).all(-1).sum() == pytest.approx(94 * 94, rel=0.01)
    sheet.write_page(tmp_path / "sheet.html", [replace(entries[0], reference=reference)], title="", note="")
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert re.findall(r"<figcaption>([a-z-]+)<", text) == ["original", "reference", "cut-out", "result"]


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
    places = {phrase for kind in world.BACKGROUNDS[:-1] for phrase in prompts.backgrounds(kind)}
    sides = {
        phrase
        for kind in (*world.BACKGROUNDS, *world.PROPS)
        for side in ("left", "right")
        for phrase in prompts.extensions(kind, side)
    }
    asked = {
        "inpainting": places,
        "outpainting": sides,
        "appearance_editing": {
            *prompts.recolours("blue", "red"),
            *prompts.glasses_removals(),
            *prompts.additions("dumbbell"),
            *prompts.additions("water bottle"),
        },
        "semantic_editing": places,
        "text_editing": set(prompts.word_changes("GYM", "FITNESS")),
        "multi_image_editing": set(prompts.reference_requests()),
    }
    for example in EXAMPLES:
        assert (SAMPLES / example.sample).is_file()
        known = asked[example.feature]
        assert example.prompt in {phrase.korean for phrase in known} | {phrase.english for phrase in known}
        assert (example.reference is not None) == (example.feature == "multi_image_editing")
        assert example.reference is None or (SAMPLES / example.reference).is_file()


def test_the_samples_are_such_that_each_example_changes_something():
    people = {name: scene.person for name, scene in samples.scenes().items()}
    for example in EXAMPLES:
        person = people[example.sample]
        if "파란색" in example.prompt:
            assert person.shirt == "blue"
        if "안경" in example.prompt:
            assert person.glasses
        if "손에" in example.prompt:
            assert person.holding == "nothing"
        if "GYM" in example.prompt:
            assert person.shirt_text == "GYM"


def test_every_example_is_of_an_experiment_that_has_its_feature():
    features = {
        experiment.id: {feature.id for feature in experiment.features}
        for experiment in models.load(CATALOGUE).experiments
    }
    assert all(example.feature in features[example.experiment] for example in EXAMPLES)
