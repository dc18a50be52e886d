import pytest

from aurora_trl.data.expressions import KINDS, kind_of
from aurora_trl.data.refavs import read_table
from aurora_trl.data.synthetic import read_scenes


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("The first object to make a sound.", "audio/first"),
        ("The last object to make a sound", "audio/last"),
        ("The object making shorter sound duration than the violin.", "audio/shorter"),
        ("The object making the longest sound duration.", "audio/longer"),
        ("The object volume is louder over the time.", "audio/louder"),
        ("The object making a sound with a lower rhythm", "audio/rhythm"),
        ("The person that didn't make any sound.", "audio/silent"),
        ("The object making a sound by being played by the woman.", "audio/other"),
        ("The sounding object on the right of the woman.", "spatial+audio"),
        ("The couch behind a man.", "spatial"),
        ("The grey chair.", "direct"),
        ("", "direct"),
    ],
)
def test_kinds_of_official_expressions(expression, kind):
    assert kind_of(expression) == kind


def test_the_generated_expressions_are_told_apart(synthetic_root):
    """The sidecar knows the kind that the words were made from."""
    for _, reference in read_scenes(synthetic_root).values():
        if reference.kind == "null":
            continue
        kind = "audio/other" if reference.kind == "audio/only" else reference.kind
        assert kind_of(reference.expression) == kind, reference.expression


def test_every_official_expression_has_a_kind(shared_dir):
    kinds = {kind_of(row.expression) for row in read_table(shared_dir / "samples" / "refavs_metadata.csv")}
    assert kinds == set(KINDS)
