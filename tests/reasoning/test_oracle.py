import re

import pytest

from aurora_trl.answer import parse
from aurora_trl.data import load_refavs, synthetic
from aurora_trl.data.scene import CATEGORIES, Reference, Scene, SceneObject, Sound
from aurora_trl.reasoning.oracle import OracleAnnotator, describe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return synthetic.write_dataset(tmp_path_factory.mktemp("oracle") / "data", num_clips=12, num_eval_clips=6)


@pytest.fixture(scope="module")
def annotator(root):
    return OracleAnnotator(root)


@pytest.fixture(scope="module")
def rows(root):
    return [row for split in synthetic.SPLITS for row in load_refavs(root, split)]


def test_every_chain_names_the_truth_in_the_grammar(annotator, rows):
    for row in rows:
        answer = parse(annotator.reason(row))
        assert answer.is_well_formed
        assert answer.category == row["category"]
        assert 25 <= len(answer.text.split()) <= 55
        assert ("None of them fits." in answer.text) == (row["category"] == "null")


def test_order_of_the_steps_varies_but_not_between_runs(annotator, rows, root):
    orders = {tuple(re.findall(r"The (images|audio|reference) ", annotator.reason(row))) for row in rows}
    assert len(orders) == 6
    again = OracleAnnotator(root)
    assert [annotator.reason(row) for row in rows] == [again.reason(row) for row in rows]


def test_every_qualifier_is_true(annotator, rows, root):
    scenes = synthetic.read_scenes(root)
    for row in rows:
        scene, _ = scenes[row["uid"]]
        objects = {obj.category: obj for obj in scene.objects}
        text = annotator.reason(row)
        shown = re.search(r"The images show (.*?)\.", text)[1]
        assert re.findall(r"a (\w+) (\w+-\w+)", shown) == [(obj.side, obj.category) for obj in scene.objects]
        heard, *silent = re.split(", a silent ", re.search(r"The audio has (.*?)\.", text)[1])
        names = re.findall("|".join(CATEGORIES), heard)
        onsets = [objects[name].sound.onset for name in names]
        assert onsets == sorted(onsets)
        assert set(names) == {obj.category for obj in scene.objects if obj.sound}
        for words, name in re.findall(r"a ((?:\w+ )*)(\w+-\w+) sound", heard):
            sound = objects[name].sound
            others = [objects[other].sound for other in names if other != name]
            assert ("first" in words) == (name == names[0] and len(names) > 1)
            assert ("last" in words) == (name == names[-1] and len(names) > 1)
            assert ("long" in words) == bool(others and all(sound.length - o.length > 1.49 for o in others))
            assert ("short" in words) == bool(others and all(o.length - sound.length > 1.49 for o in others))
            assert ("loud" in words) == any(sound.level_db - o.level_db > 9.9 for o in others)
            assert ("soft" in words) == any(o.level_db - sound.level_db > 9.9 for o in others)
        assert set(silent) == {obj.category for obj in scene.objects if not obj.sound}


def test_describe_by_hand():
    looks = [("red", "circle", "left"), ("blue", "square", "centre"), ("yellow", "triangle", "right")]
    sounds = [Sound(3.0, 8.0, -34.0), Sound(1.0, 2.5, -20.0), None]
    scene = Scene(
        tuple(SceneObject(*look, 0.14, (0.5, 0.5), (0.5, 0.5), s) for look, s in zip(looks, sounds, strict=True))
    )
    steps = describe(scene, Reference("spatial+audio", "left", "The sounding object on the left.", 0))
    assert steps == {
        "visual": "The images show a left red-circle, a centre blue-square and a right yellow-triangle.",
        "audio": "The audio has a first short loud blue-square sound, then a last long soft red-circle sound, "
        "a silent yellow-triangle.",
        "reference": "The reference asks for the sound on the left.",
    }


def test_a_right_answer_is_left_alone(annotator, rows):
    for row in rows:
        assert annotator.correct(row, annotator.reason(row)) == annotator.reason(row)


def test_a_wrong_answer_keeps_its_true_sentences(annotator, rows):
    row = next(row for row in rows if row["category"] != "null")
    right = annotator.reason(row)
    sentences = re.split(r"(?<=\.) ", right)
    for i in range(3):
        wrong = [*sentences[:3], "So the target is a dog.", "It is [SEG]."]
        wrong[i] = " ".join(sentences[i].split()[:3]) + " nonsense."
        assert annotator.correct(row, " ".join(wrong)) == right
    swapped = " ".join([sentences[2], sentences[0], "Birds fly.", *sentences[3:]])
    corrected = annotator.correct(row, swapped)
    assert corrected == " ".join([sentences[2], sentences[0], sentences[1], *sentences[3:]])
    assert annotator.correct(row, "Birds fly. It is [SEG].") == right


def test_rows_of_another_data_set_are_refused(annotator):
    with pytest.raises(ValueError, match="no row 'x_cat_1'"):
        annotator.reason({"uid": "x_cat_1"})
