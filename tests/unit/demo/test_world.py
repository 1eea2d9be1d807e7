"""The demo's world: scenes are deterministic, edits local, and truth consistent."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from demo import world
from demo.world import samples
from demo.world.letters import LETTERS

SEEDS = range(world.HELD_OUT_SEEDS.start, world.HELD_OUT_SEEDS.start + 6)


def _scene(seed: int, **options) -> world.Scene:
    scene = world.sample(random.Random(seed), **options)
    assert scene.person is not None
    return scene


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_pixels(seed):
    first, second = world.render(_scene(seed), parts=True), world.render(_scene(seed), parts=True)
    assert (first.rgb == second.rgb).all()
    assert (first.alpha == second.alpha).all()
    assert all((first.parts[name] == second.parts[name]).all() for name in first.parts)


def test_different_seeds_give_different_scenes():
    assert len({world.render(_scene(seed)).rgb.tobytes() for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_persons_parts_add_up_to_the_persons_alpha(seed):
    rendered = world.render(_scene(seed), parts=True)
    total = sum(mask.astype(int) for name, mask in rendered.parts.items() if name != "props")
    assert np.abs(total - rendered.alpha).max() <= len(rendered.parts)  # each mask is rounded by itself
    assert (rendered.parts["props"].astype(int) + rendered.alpha <= 256).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_picture_is_the_person_over_the_background(seed):
    scene = _scene(seed)
    rendered, empty = world.render(scene), world.render_background(scene)
    shadow_top = int(scene.height * 0.85)
    apart = (rendered.rgb != empty).any(-1)[:shadow_top]
    assert not (apart & (rendered.alpha == 0)[:shadow_top]).any()
    assert rendered.alpha.max() == 255
    assert 0.05 < (rendered.alpha > 127).mean() < 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_another_shirt_colour_changes_the_shirt_alone(seed):
    scene = _scene(seed)
    colour = next(name for name in world.COLOURS if name != scene.person.shirt)
    before, after = world.render(scene, parts=True), world.render(_with(scene, shirt=colour))
    changed = (before.rgb != after.rgb).any(-1)
    assert changed.any()
    assert not (changed & (before.parts["shirt"] == 0)).any()
    assert (before.alpha == after.alpha).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_another_background_leaves_the_person_as_they_are(seed):
    scene = _scene(seed)
    kind = next(kind for kind in world.BACKGROUNDS if kind not in (scene.background.kind, "plain"))
    other = replace(scene, background=world.Background(kind, "", 5))
    before, after = world.render(scene), world.render(other)
    assert (before.alpha == after.alpha).all()
    inside = before.alpha == 255
    assert (before.rgb[inside] == after.rgb[inside]).all()
    assert (before.rgb[~inside] != after.rgb[~inside]).any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("edit", [{"glasses": True}, {"holding": "dumbbell"}, {"holding": "water bottle"}])
def test_glasses_and_what_is_held_come_and_go_without_moving_anything(seed, edit):
    scene = _with(_scene(seed), glasses=False, holding="nothing")
    before, after = world.render(scene, parts=True), world.render(_with(scene, **edit), parts=True)
    part = "glasses" if "glasses" in edit else "holding"
    assert before.parts[part].max() == 0
    assert (after.parts[part] > 127).sum() > 60  # large enough to be seen at 256 px
    rows, columns = np.nonzero((before.rgb != after.rgb).any(-1))
    assert rows.max() - rows.min() < 0.3 * scene.height
    assert columns.max() - columns.min() < 0.3 * scene.width


def test_a_word_on_the_shirt_stands_in_its_box():
    for seed in SEEDS:
        plain, written = (_with(_scene(seed), shirt_text=text, holding="nothing") for text in ("", "FITNESS"))
        changed = (world.render(plain).rgb != world.render(written).rgb).any(-1)
        left, top, right, bottom = world.text_box(written.person, written.width, written.height)
        assert changed[top:bottom, left:right].sum() == changed.sum() > 50


def test_what_is_held_and_glasses_are_in_their_boxes():
    for seed in SEEDS:
        scene = _with(_scene(seed), holding="dumbbell", glasses=True, position=0.5)
        parts = world.render(scene, parts=True).parts
        for part, box in (("holding", world.hand_box), ("glasses", world.face_box)):
            left, top, right, bottom = box(scene.person, scene.width, scene.height)
            inside = parts[part][top:bottom, left:right].astype(int).sum()
            assert inside == parts[part].astype(int).sum() > 0


def test_the_other_hand_is_where_the_mirrored_person_holds_things():
    told = [
        scene.person for scene in map(_scene, range(40)) if scene.person.pose in ("waving", "stepping", "presenting")
    ]
    alike = [person for person in (_scene(seed).person for seed in range(40)) if person not in told]
    assert told
    assert alike
    assert not any(map(world.holds_at_the_left, told))
    assert 0 < sum(map(world.holds_at_the_left, alike)) < len(alike)
    for person in alike:
        busy, idle = world.hand_boxes(replace(person, position=0.5), 256, 256)
        assert world.hand_box(replace(person, position=0.5), 256, 256) == busy
        assert (busy[0] < idle[0]) == world.holds_at_the_left(person)
        assert busy[1] == idle[1]
        assert abs(busy[0] + busy[2] + idle[0] + idle[2] - 512) <= 2


def test_every_word_has_its_letters():
    assert {letter for word in world.WORDS for letter in word} <= set(LETTERS)


@pytest.mark.parametrize("kind", world.BACKGROUNDS)
@pytest.mark.parametrize(("width", "height"), [(384, 256), (256, 400), (64, 64)])
def test_every_background_fills_pictures_of_any_shape(kind, width, height):
    scene = _scene(7, width=width, height=height, background=kind)
    assert scene.background.kind == kind
    rendered = world.render(replace(scene, props=()))
    assert rendered.rgb.shape == (height, width, 3)
    # Nothing is left unpainted: what SVG does not paint comes out as pure black.
    assert not (world.render_background(replace(scene, props=())) == 0).all(-1).any()


@pytest.mark.parametrize("kind", world.PROPS)
def test_every_prop_can_be_seen_where_it_stands(kind):
    scene = replace(_scene(7), props=(world.Prop(kind, 0.15, 1.0, 3),))
    seen = world.render(replace(scene, person=None), parts=True).parts["props"]
    columns = np.nonzero((seen > 127).any(0))[0]
    assert abs(columns.mean() / scene.width - 0.15) < 0.1
    assert (seen > 127).sum() > 300


def test_sampling_never_fails_and_uses_every_kind():
    scenes = [_scene(seed, width=width) for seed in range(200) for width in (96, 256, 512)]
    assert {scene.background.kind for scene in scenes} == set(world.BACKGROUNDS)
    assert {scene.person.holding for scene in scenes} == set(world.HOLDABLE)
    assert {scene.person.pose for scene in scenes} == set(world.POSES)
    assert {prop.kind for scene in scenes for prop in scene.props} == set(world.PROPS)
    assert {scene.person.shirt_text for scene in scenes} == {*world.WORDS, ""}


def test_training_and_held_out_seeds_do_not_meet():
    assert set(world.TRAINING_SEEDS[-1:]) & set(world.HELD_OUT_SEEDS[:1]) == set()
    assert world.TRAINING_SEEDS.stop <= world.HELD_OUT_SEEDS.start


def test_a_scene_is_drawn_in_milliseconds():
    scenes = [_scene(seed) for seed in range(12)]
    started = time.process_time()
    for scene in scenes:
        world.render(scene)
    assert (time.process_time() - started) / len(scenes) < 0.1  # 0.02 s where it was measured


def test_the_samples_are_what_their_command_writes(tmp_path):
    for path in samples.write(tmp_path):
        kept = samples.FOLDER / path.name
        assert kept.stat().st_size < 120_000
        assert np.abs(_pixels(kept) - _pixels(path)).max() <= 2  # another libjpeg or PNG packer rounds differently


def test_the_samples_are_held_out_scenes_with_what_the_guide_asks_about():
    people = [scene.person for scene in samples.scenes().values()]
    assert any(person.glasses for person in people)
    assert any(person.shirt == "blue" for person in people)
    assert any(person.shirt_text == "GYM" and person.holding == "nothing" for person in people)
    assert {path.name for path in samples.FOLDER.iterdir()} == set(samples.scenes())


def _with(scene: world.Scene, **changes) -> world.Scene:
    return replace(scene, person=replace(scene.person, **changes))


def _pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)
