"""
What happens in a synthetic clip, and which expressions are true of it: objects, sounds, references.

Knows neither pixels nor samples nor files: `synthetic` renders and writes. Lengths are fractions of the picture's
side, times are seconds, levels are dB below full scale.
"""

import itertools
from dataclasses import asdict, dataclass

import numpy as np


COLORS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle")
SIDES = ("left", "centre", "right")
CATEGORIES = tuple(f"{color}-{shape}" for color in COLORS for shape in SHAPES)
# One composition per shape; its color and its shape each occur in seen compositions, so it can be inferred.
UNSEEN_CATEGORIES = ("red-triangle", "green-circle", "blue-square")

DURATION = 10.0  # seconds of a Ref-AVS clip
LOUD_DB = -20.0  # three loud sounds together still do not clip
SOFT_DB = -34.0
LEVEL_JITTER_DB = 2.0  # one draw per clip, so that differences within a clip stay 0 or 14 dB
LOUDNESS_MARGIN_DB = 10.0
LENGTH_MARGIN = 1.5
ONSET_MARGIN = 1.0
SOUND_LENGTHS = (1.2, 6.4)
SILENT_EDGE = 0.2  # seconds without sound at both ends of a clip

AUDIO_KINDS = (
    "audio/first",
    "audio/last",
    "audio/louder",
    "audio/softer",
    "audio/longer",
    "audio/shorter",
    "audio/only",
    "audio/silent",
    "spatial+audio",
)
VISUAL_KINDS = ("spatial", "direct")
NULL_KIND = "null"

# {} is the argument: a side, a color or a shape.
WORDINGS = {
    "audio/first": ("The first object to make a sound.", "The object that starts sounding first."),
    "audio/last": ("The last object to make a sound.", "The object that starts sounding last."),
    "audio/louder": ("The object making the louder sound.", "The object with the loudest sound."),
    "audio/softer": ("The object making the softer sound.", "The object with the softest sound."),
    "audio/longer": ("The object that sounds longer.", "The object with the longest sound."),
    "audio/shorter": ("The object that sounds shorter.", "The object with the shortest sound."),
    "audio/only": ("The object making a sound.", "The only sounding object."),
    "audio/silent": ("The object that stays silent.", "The object making no sound."),
    "spatial+audio": ("The sounding object on the {}.", "The {} one of the sounding objects."),
    "spatial": ("The object on the {}.", "The {} object."),
    "direct/color": ("The {} object.", "The object that is {}."),
    "direct/shape": ("The {}.", "The object that is a {}."),
}


@dataclass(frozen=True)
class Sound:
    """One sound event: from `onset` to `offset` seconds at `level_db` (RMS, dB below full scale)."""

    onset: float
    offset: float
    level_db: float

    @property
    def length(self) -> float:
        return self.offset - self.onset


@dataclass(frozen=True)
class SceneObject:
    """One object; its center moves on a straight line from `start` to `end`, both (x, y) in [0, 1]."""

    color: str
    shape: str
    side: str
    radius: float
    start: tuple[float, float]
    end: tuple[float, float]
    sound: Sound | None

    @property
    def category(self) -> str:
        return f"{self.color}-{self.shape}"


@dataclass(frozen=True)
class Scene:
    """A clip: two or three objects from left to right, no two of one color or one shape; at least one sounds."""

    objects: tuple[SceneObject, ...]

    @property
    def sounding(self) -> list[int]:
        """Indices of the objects that sound, in order of onset."""
        indices = [i for i, obj in enumerate(self.objects) if obj.sound is not None]
        return sorted(indices, key=lambda i: self.objects[i].sound.onset)

    @property
    def silent(self) -> list[int]:
        return [i for i, obj in enumerate(self.objects) if obj.sound is None]

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict) -> "Scene":
        objects = []
        for fields in record["objects"]:
            sound = None if fields["sound"] is None else Sound(**fields["sound"])
            line = {key: tuple(fields[key]) for key in ("start", "end")}
            objects.append(SceneObject(**{**fields, **line, "sound": sound}))
        return cls(tuple(objects))


@dataclass(frozen=True)
class Reference:
    """
    One expression about a scene.

    Args:
        kind (`str`): One of `AUDIO_KINDS`, `VISUAL_KINDS` or `"null"`.
        argument (`str` or `None`): The side, color or shape; `"silent"` for a null row that asks for silence.
        expression (`str`): The text.
        target (`int` or `None`): Index of the only object that fulfils it; `None` for a null row.
    """

    kind: str
    argument: str | None
    expression: str
    target: int | None


def fulfilling(scene: Scene, kind: str, argument: str | None = None) -> list[int]:
    """
    Indices of the objects that fulfil a condition; comparisons only count with a clear margin.

    Args:
        scene (`Scene`): What happens in the clip.
        kind (`str`): A kind of reference. `"null"` is judged by its argument.
        argument (`str`, *optional*): See [`Reference`].
    """
    if kind == NULL_KIND:
        kind = "audio/silent" if argument == "silent" else "direct"
    if kind == "direct":
        return [i for i, obj in enumerate(scene.objects) if argument in (obj.color, obj.shape)]
    if kind == "spatial":
        return [i for i, obj in enumerate(scene.objects) if obj.side == argument]
    if kind == "audio/silent":
        return scene.silent
    if kind == "audio/only":
        return scene.sounding
    if len(scene.sounding) < 2:
        return []
    if kind == "spatial+audio":
        # Without a silent object the picture alone would answer it.
        ends = {"left": min(scene.sounding), "right": max(scene.sounding)}
        return [ends[argument]] if scene.silent and len(scene.objects) > 2 else []
    measure, sign, margin = _COMPARISONS[kind]
    return _clear_winner({i: sign * measure(scene.objects[i].sound) for i in scene.sounding}, margin)


_COMPARISONS = {
    "audio/first": (lambda sound: sound.onset, -1, ONSET_MARGIN),
    "audio/last": (lambda sound: sound.onset, 1, ONSET_MARGIN),
    "audio/louder": (lambda sound: sound.level_db, 1, LOUDNESS_MARGIN_DB),
    "audio/softer": (lambda sound: sound.level_db, -1, LOUDNESS_MARGIN_DB),
    "audio/longer": (lambda sound: sound.length, 1, LENGTH_MARGIN),
    "audio/shorter": (lambda sound: sound.length, -1, LENGTH_MARGIN),
}


def _clear_winner(values: dict[int, float], margin: float) -> list[int]:
    best = max(values, key=values.get)
    rounding = 1e-6  # of differences between decimal fractions
    return [best] if all(values[best] - values[i] >= margin - rounding for i in values if i != best) else []


def possible_references(scene: Scene, null: bool = False) -> list[tuple[str, str | None, int | None]]:
    """
    Every (kind, argument, target) that is unambiguous in a scene: exactly one object fulfils it.

    Args:
        scene (`Scene`): What happens in the clip.
        null (`bool`, *optional*, defaults to `False`): Instead those which no object fulfils, of kind `"null"`.
    """
    if null:
        arguments = [*COLORS, *SHAPES, "silent"]
        return [(NULL_KIND, a, None) for a in arguments if not fulfilling(scene, NULL_KIND, a)]
    arguments = {"direct": COLORS + SHAPES, "spatial": SIDES[::2], "spatial+audio": SIDES[::2]}
    candidates = [(kind, a) for kind in AUDIO_KINDS + VISUAL_KINDS for a in arguments.get(kind, (None,))]
    found = [(kind, a, fulfilling(scene, kind, a)) for kind, a in candidates]
    return [(kind, a, targets[0]) for kind, a, targets in found if len(targets) == 1]


def count_audio_kinds(scene: Scene, targets: set[int]) -> int:
    """How many kinds of questions about the sound have one of these objects as their answer."""
    return len({kind for kind, _, target in possible_references(scene) if kind in AUDIO_KINDS and target in targets})


def word(kind: str, argument: str | None, rng: np.random.Generator) -> str:
    """One of the wordings of a condition."""
    if kind == NULL_KIND:
        kind = "audio/silent" if argument == "silent" else "direct"
    if kind == "direct":
        kind = "direct/color" if argument in COLORS else "direct/shape"
    wordings = WORDINGS[kind]
    return wordings[rng.integers(len(wordings))].format(argument)


def draw_references(
    rng: np.random.Generator,
    scene: Scene,
    num_references: int = 3,
    null: bool = False,
    targets: set[int] | None = None,
    audio_share: float = 0.5,
) -> list[Reference]:
    """
    Expressions of different kinds about one scene (null rows: of different arguments).

    Args:
        rng (`np.random.Generator`): Source of randomness.
        scene (`Scene`): What happens in the clip.
        num_references (`int`, *optional*, defaults to `3`): How many, where the scene allows as many.
        null (`bool`, *optional*, defaults to `False`): Ask for what is not there.
        targets (`set[int]`, *optional*): Only these objects may be asked for.
        audio_share (`float`, *optional*, defaults to `0.5`):
            Chance that a row is of a kind that needs the sound, while kinds of both sorts are left.
    """
    possible = possible_references(scene, null)
    if targets is not None:
        possible = [option for option in possible if option[2] in targets]
    references = []
    while possible and len(references) < num_references:
        audio = [option for option in possible if option[0] in AUDIO_KINDS]
        visual = [option for option in possible if option[0] not in AUDIO_KINDS]
        pool = audio if audio and (not visual or rng.random() < audio_share) else visual
        kinds = sorted({option[0] for option in pool})
        kind = kinds[rng.integers(len(kinds))]
        options = [option for option in pool if option[0] == kind]
        kind, argument, target = options[rng.integers(len(options))]
        references.append(Reference(kind, argument, word(kind, argument, rng), target))
        possible = [o for o in possible if (o[1] != argument if null else o[0] != kind)]
    return references


def draw_scene(rng: np.random.Generator, unseen: bool = False, null: bool = False) -> Scene:
    """
    Draw what happens in a clip.

    Args:
        rng (`np.random.Generator`): Source of randomness.
        unseen (`bool`, *optional*, defaults to `False`): Exactly one object is an unseen composition, else none.
        null (`bool`, *optional*, defaults to `False`):
            More often everything sounds, so that "the object that stays silent" is among the null rows.
    """
    num_objects = 2 if rng.random() < 0.4 else 3
    categories = _draw_categories(rng, num_objects, unseen)
    silent_chances = (0.5, 0.35, 0.15) if null else (0.2, 0.6, 0.2)  # of 0, 1, 2 silent objects
    if num_objects == 2:
        silent_chances = (0.65, 0.35, 0.0)
    num_sounds = num_objects - int(rng.choice(3, p=silent_chances))
    sounds = [*_draw_sounds(rng, num_sounds), *[None] * (num_objects - num_sounds)]
    order = rng.permutation(num_objects)
    sides = SIDES if num_objects == 3 else SIDES[::2]
    return Scene(
        tuple(
            _draw_object(rng, *categories[i].split("-"), side, num_objects, sounds[order[i]])
            for i, side in enumerate(sides)
        )
    )


def _draw_categories(rng: np.random.Generator, num_objects: int, unseen: bool) -> list[str]:
    """Categories with all colors and all shapes different, all such sets equally likely."""
    seen = [category for category in CATEGORIES if category not in UNSEEN_CATEGORIES]
    while True:
        drawn = list(rng.choice(seen, num_objects, replace=False))
        if unseen:
            drawn[rng.integers(num_objects)] = UNSEEN_CATEGORIES[rng.integers(len(UNSEEN_CATEGORIES))]
        parts = list(itertools.chain.from_iterable(category.split("-") for category in drawn))
        if len(set(parts)) == len(parts):
            return [str(category) for category in drawn]


def _draw_object(
    rng: np.random.Generator, color: str, shape: str, side: str, num_objects: int, sound: Sound | None
) -> SceneObject:
    """An object that stays in its third (of two objects: its half) of the picture and inside the picture."""
    radius = rng.uniform(0.13, 0.155) if num_objects == 3 else rng.uniform(0.13, 0.18)
    slots = SIDES if num_objects == 3 else SIDES[::2]
    width = 1 / len(slots)
    low = slots.index(side) * width + radius
    x = rng.uniform(low, low + width - 2 * radius, size=2)
    y = rng.uniform(radius + 0.02, 0.98 - radius, size=2)
    start, end = ((round(float(x[i]), 4), round(float(y[i]), 4)) for i in range(2))
    return SceneObject(color, shape, side, round(float(radius), 4), start, end, sound)


def _draw_sounds(rng: np.random.Generator, num_sounds: int) -> list[Sound]:
    """
    Sounds whose onsets are always a clear margin apart and whose lengths are so in three clips of four.

    Order, length and loudness are drawn independently of each other: the first sound is not more often the longer one,
    although long sounds have less room to start late.
    """
    clear_lengths = rng.random() < 0.75
    onset_ranks, length_ranks = rng.permutation(num_sounds), rng.permutation(num_sounds)
    latest = DURATION - SILENT_EDGE
    while True:
        lengths = np.sort(np.round(rng.uniform(*SOUND_LENGTHS, num_sounds), 2))
        if not clear_lengths:
            lengths = np.full(num_sounds, lengths[0])
        elif num_sounds > 1 and np.diff(lengths).min() < LENGTH_MARGIN:
            continue
        onsets = np.sort(np.round(rng.uniform(SILENT_EDGE, latest - SOUND_LENGTHS[0], num_sounds), 2))
        if num_sounds > 1 and np.diff(onsets).min() < ONSET_MARGIN:
            continue
        lengths, onsets = lengths[length_ranks], onsets[onset_ranks]
        if (onsets + lengths).max() <= latest:
            break
    levels = _draw_levels(rng, num_sounds)
    events = zip(onsets, onsets + lengths, levels, strict=True)
    return [Sound(float(onset), round(float(offset), 2), level) for onset, offset, level in events]


def _draw_levels(rng: np.random.Generator, num_sounds: int) -> list[float]:
    """Loud or soft, differing within a clip in three clips of four."""
    shift = rng.uniform(-LEVEL_JITTER_DB, LEVEL_JITTER_DB)
    is_loud = rng.random(num_sounds) < 0.5
    if num_sounds > 1 and rng.random() < 0.5:  # half of the clips with equal sounds get another draw
        while is_loud.all() or not is_loud.any():
            is_loud = rng.random(num_sounds) < 0.5
    return [round(float((LOUD_DB if loud else SOFT_DB) + shift), 2) for loud in is_loud]
