"""
The annotator that knows the truth: chains of thought for the synthetic data set, read off its scenes.

Sees no picture and hears no sound. Each sentence it writes is true of the scene; `correct` keeps the true sentences of
a wrong answer.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aurora_trl.answer import parse, render_cot, render_prompt
from aurora_trl.constants import NULL_CATEGORY
from aurora_trl.data.scene import (
    LENGTH_MARGIN,
    LOUDNESS_MARGIN_DB,
    NULL_KIND,
    Reference,
    Scene,
    draw_references,
    draw_scene,
)
from aurora_trl.data.synthetic import read_scenes
from aurora_trl.reasoning.cot import seed_of


STEPS = ("visual", "audio", "reference")
_OPENINGS = {"The images": "visual", "The audio": "audio", "The reference": "reference", "None of": "none"}
_NONE_FITS = "None of them fits."
_ASKED = {
    "audio/first": "the first sound",
    "audio/last": "the last sound",
    "audio/louder": "the loud sound",
    "audio/softer": "the soft sound",
    "audio/longer": "the long sound",
    "audio/shorter": "the short sound",
    "audio/only": "the only sound",
    "audio/silent": "the silent object",
    "spatial+audio": "the sound on the {}",
    "spatial": "the object on the {}",
    "direct": "the {} object",
}


class OracleAnnotator:
    """
    Writes the reasoning of the synthetic data set.

    Args:
        root (`str` or `Path`):
            A folder written by `synthetic.write_dataset`.

    Example:

    ```python
    >>> annotator = OracleAnnotator(root)
    >>> annotator.reason(load_refavs(root, "train")[0])
    'The images show, a left red-circle and … So the target is red-circle. It is [SEG].'
    ```
    """

    def __init__(self, root: str | Path):
        self._scenes = read_scenes(root)

    def reason(self, row: Mapping[str, Any]) -> str:
        """
        The chain of thought of a row: visual, audio and reference step in an order drawn from the uid, and the target.

        Args:
            row (`Mapping`): A row of the data set; only its `uid` is read.
        """
        scene, reference = self._look_up(row)
        steps = describe(scene, reference)
        order = np.random.default_rng(seed_of(row["uid"])).permutation(STEPS)
        return _render([steps[step] for step in order], scene, reference)

    def correct(self, row: Mapping[str, Any], wrong_completion: str) -> str:
        """
        The corrected path of a wrong answer, changed as little as possible (paper 3.2).

        True sentences stay where they are, false ones are replaced by the true one of the same step, missing steps are
        added at the end, and what belongs to no step is left out. An answer without any known step is replaced whole.

        Args:
            row (`Mapping`): A row of the data set; only its `uid` is read.
            wrong_completion (`str`): The answer to correct.
        """
        scene, reference = self._look_up(row)
        steps = describe(scene, reference)
        order = []
        for sentence in re.split(r"(?<=\.)\s+", parse(wrong_completion).reasoning):
            step = next((step for opening, step in _OPENINGS.items() if sentence.startswith(opening)), None)
            if step in STEPS and step not in order:
                order.append(step)
        if not order:
            return self.reason(row)
        order.extend(step for step in STEPS if step not in order)
        return _render([steps[step] for step in order], scene, reference)

    def _look_up(self, row: Mapping[str, Any]) -> tuple[Scene, Reference]:
        if row["uid"] not in self._scenes:
            raise ValueError(
                f"The scenes of the data set have no row {row['uid']!r}: the rows come from another folder or seed. "
                "Give the annotator the folder the rows were loaded from."
            )
        return self._scenes[row["uid"]]


def imagine(num_clips: int, seed: int, null_share: float = 0.05) -> list[dict[str, Any]]:
    """
    Expressions about clips that are never rendered, with their chains of thought: text for a language model.

    Args:
        num_clips (`int`): How many scenes to draw; each gives about three rows. None has an unseen category.
        seed (`int`): Each scene is drawn from it and its own number.
        null_share (`float`, *optional*, defaults to `0.05`): Share of clips whose expressions refer to nothing.

    Returns:
        `list[dict]`: rows with `prompt` (messages), `category` and `completion` (text).
    """
    rows = []
    for number in range(num_clips):
        rng = np.random.default_rng((seed, number))
        null = bool(rng.random() < null_share)
        scene = draw_scene(rng, null=null)
        for reference in draw_references(rng, scene, null=null):
            steps = describe(scene, reference)
            category = NULL_CATEGORY if reference.target is None else scene.objects[reference.target].category
            text = _render([steps[step] for step in rng.permutation(STEPS)], scene, reference)
            rows.append({"prompt": render_prompt(reference.expression), "category": category, "completion": text})
    return rows


def describe(scene: Scene, reference: Reference) -> dict[str, str]:
    """The true sentence of each step."""
    return {
        "visual": f"The images show {_join(f'a {obj.side} {obj.category}' for obj in scene.objects)}.",
        "audio": _describe_audio(scene),
        "reference": f"The reference asks for {_name_condition(reference)}.",
    }


def _render(sentences: list[str], scene: Scene, reference: Reference) -> str:
    if reference.target is None:
        return render_cot(" ".join([*sentences, _NONE_FITS]), NULL_CATEGORY)
    return render_cot(" ".join(sentences), scene.objects[reference.target].category)


def _describe_audio(scene: Scene) -> str:
    """Every attribute that a reference may ask for stands before the category it is true of."""
    sounds = [scene.objects[i].sound for i in scene.sounding]
    names = [scene.objects[i].category for i in scene.sounding]
    if len(sounds) == 1:
        heard = f"only a {names[0]} sound"
    else:
        places = ["first ", *[""] * (len(sounds) - 2), "last "]
        heard = ", then ".join(
            f"a {place}{_qualify_length(sounds, i)}{_qualify_loudness(sounds, i)}{name} sound"
            for i, (place, name) in enumerate(zip(places, names, strict=True))
        )
    silent = "".join(f", a silent {scene.objects[i].category}" for i in scene.silent)
    return f"The audio has {heard}{silent}."


def _qualify_length(sounds: list, i: int) -> str:
    """ "long " or "short " where the sound is clearly the longest or the shortest."""
    gaps = [sounds[i].length - sound.length for j, sound in enumerate(sounds) if j != i]
    return _qualify(gaps, LENGTH_MARGIN, "long ", "short ")


def _qualify_loudness(sounds: list, i: int) -> str:
    """ "loud " or "soft " where another sound is clearly softer or louder."""
    gaps = [sounds[i].level_db - sound.level_db for j, sound in enumerate(sounds) if j != i]
    gaps = [gap for gap in gaps if abs(gap) >= LOUDNESS_MARGIN_DB - 1e-6]
    return _qualify(gaps, LOUDNESS_MARGIN_DB, "loud ", "soft ") if gaps else ""


def _qualify(gaps: list[float], margin: float, high: str, low: str) -> str:
    margin -= 1e-6  # of differences between decimal fractions
    if min(gaps) >= margin:
        return high
    return low if max(gaps) <= -margin else ""


def _name_condition(reference: Reference) -> str:
    if reference.kind != NULL_KIND:
        return _ASKED[reference.kind].format(reference.argument)
    return _ASKED["audio/silent"] if reference.argument == "silent" else _ASKED["direct"].format(reference.argument)


def _join(parts) -> str:
    """ "a", "a and b", "a, b and c"."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
