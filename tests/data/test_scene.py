"""Every expression is judged here by an own reading of its text, not by the generator's rules."""

import re

import numpy as np
import pytest

from aurora_trl.data import scene as scenes
from aurora_trl.data.scene import COLORS, SHAPES, UNSEEN_CATEGORIES, Reference, Scene, SceneObject, Sound
from aurora_trl.data.synthetic import SPLITS, draw_clip


CLIPS = [(split, *draw_clip(split, i, seed=3)[1:3]) for split in SPLITS for i in range(150)]


def find_by_text(scene, text):
    """All objects a careful reader could mean, by brute force over the words."""
    words = re.findall("[a-z]+", text.lower())
    objects = list(enumerate(scene.objects))
    heard = [(i, o) for i, o in objects if o.sound]

    def best(key, margin):
        ranked = sorted(heard, key=lambda pair: key(pair[1].sound), reverse=True)
        assert len(ranked) > 1, text
        gap = key(ranked[0][1].sound) - key(ranked[1][1].sound)
        return [ranked[0][0]] if gap > margin - 1e-6 else [i for i, _ in ranked]

    orders = {
        "first": (lambda s: -s.onset, 1),
        "last": (lambda s: s.onset, 1),
        "loud": (lambda s: s.level_db, 10),
        "soft": (lambda s: -s.level_db, 10),
        "long": (lambda s: s.offset - s.onset, 1.5),
        "short": (lambda s: s.onset - s.offset, 1.5),
    }
    for word, order in orders.items():
        if {word, f"{word}er", f"{word}est"} & set(words):
            return best(*order)
    side = {"left": min, "right": max}.get(next((w for w in words if w in ("left", "right")), None))
    if side:
        pool = heard if {"sounding"} & set(words) else objects
        return [side(pool, key=lambda pair: pair[1].start[0])[0]]
    for word in words:
        if word in COLORS + SHAPES:
            return [i for i, o in objects if word in (o.color, o.shape)]
    if "silent" in words or "no" in words:
        return [i for i, o in objects if not o.sound]
    assert "sound" in words or "sounding" in words, text
    return [i for i, _ in heard]


def test_exactly_one_object_fulfils_each_expression():
    for _, scene, references in CLIPS:
        for reference in references:
            expected = [] if reference.target is None else [reference.target]
            assert find_by_text(scene, reference.expression) == expected, (reference, scene)


def test_every_kind_and_every_wording_occurs():
    texts = {re.sub("|".join(COLORS + SHAPES + ("left", "right")), "{}", r.expression) for *_, rs in CLIPS for r in rs}
    assert texts == {wording for wordings in scenes.WORDINGS.values() for wording in wordings}
    kinds = {reference.kind for *_, references in CLIPS for reference in references}
    assert kinds == {*scenes.AUDIO_KINDS, *scenes.VISUAL_KINDS, "null"}


def test_scenes_keep_their_promises():
    for split, scene, references in CLIPS:
        objects = scene.objects
        assert len(objects) in (2, 3)
        assert len({o.color for o in objects}) == len({o.shape for o in objects}) == len(objects)
        assert scene.sounding, "a clip is never without sound"
        unseen = [o for o in objects if o.category in UNSEEN_CATEGORIES]
        assert len(unseen) == (split == "test_u")
        assert references
        if split == "test_u":
            assert {objects[r.target] for r in references} == set(unseen)
        if split == "test_n":
            assert {r.kind for r in references} == {"null"}
        if "null" not in {r.kind for r in references}:
            assert len({r.kind for r in references}) == len(references)
        for left, right in zip(objects, objects[1:], strict=False):
            assert max(left.start[0], left.end[0]) < min(right.start[0], right.end[0]), "sides change"
        for obj in objects:
            assert 0 < obj.radius < 0.2
            assert all(obj.radius <= value <= 1 - obj.radius for value in (*obj.start, *obj.end))
            if obj.sound:
                assert 0 < obj.sound.onset < obj.sound.offset < scenes.DURATION
        levels = [objects[i].sound.level_db for i in scene.sounding]
        assert all(abs(a - b) < 1e-6 or abs(a - b) >= 10 for a in levels for b in levels)


def test_two_rows_of_three_need_the_sound():
    references = [r for split, _, rs in CLIPS if split == "train" for r in rs]
    share = np.mean([reference.kind in scenes.AUDIO_KINDS for reference in references])
    assert 0.58 < share < 0.72
    assert 0.02 < np.mean([reference.kind == "null" for reference in references]) < 0.09


def test_first_longer_and_louder_are_independent():
    """Otherwise the longer sound could be guessed from the order."""
    pairs = [scene for split, scene, _ in CLIPS if len(scene.sounding) == 2]
    for kind in ("audio/longer", "audio/louder"):
        found = [(scene.sounding[0], *scenes.fulfilling(scene, kind)) for scene in pairs]
        share = np.mean([pair[0] == pair[1] for pair in found if len(pair) == 2])
        assert 0.4 < share < 0.6, kind


def _scene(*sounds):
    looks = [("red", "circle", "left"), ("green", "square", "centre"), ("blue", "triangle", "right")]
    objects = [
        SceneObject(*look, 0.14, (x, 0.5), (x, 0.5), sound)
        for look, x, sound in zip(looks, (0.2, 0.5, 0.8), sounds, strict=True)
    ]
    return Scene(tuple(objects))


@pytest.mark.parametrize(
    ("kind", "argument", "expected"),
    [
        ("audio/first", None, [2]),
        ("audio/last", None, [1]),
        ("audio/louder", None, [1]),
        ("audio/softer", None, [2]),
        ("audio/longer", None, [2]),
        ("audio/shorter", None, [1]),
        ("audio/only", None, [1, 2]),
        ("audio/silent", None, [0]),
        ("spatial", "left", [0]),
        ("spatial+audio", "left", [1]),
        ("spatial+audio", "right", [2]),
        ("direct", "green", [1]),
        ("direct", "triangle", [2]),
        ("null", "yellow", []),
        ("null", "silent", [0]),
    ],
)
def test_fulfilling_by_hand(kind, argument, expected):
    scene = _scene(None, Sound(4.0, 6.0, -20.0), Sound(1.0, 5.0, -34.0))
    assert sorted(scenes.fulfilling(scene, kind, argument)) == expected


def test_small_differences_are_not_asked_for():
    scene = _scene(None, Sound(1.5, 3.0, -20.0), Sound(1.0, 3.9, -25.0))
    for kind in ("audio/first", "audio/last", "audio/louder", "audio/softer", "audio/longer", "audio/shorter"):
        assert scenes.fulfilling(scene, kind) == []


def test_sound_on_a_side_needs_a_silent_object():
    """With all three sounding, the picture alone would answer it."""
    sound = Sound(1.0, 2.0, -20.0)
    assert scenes.fulfilling(_scene(sound, sound, sound), "spatial+audio", "left") == []


def test_json_and_back():
    _, scene, references = CLIPS[0]
    assert Scene.from_json(scene.to_json()) == scene
    assert Reference(**vars(references[0])) == references[0]
