"""
The embedded data set: moving colored shapes that sound, written in the layout of Ref-AVS, for the same reader.

Renders and writes what `scene` draws. Knows nothing of models or chains of thought; the sidecar `scenes.jsonl` keeps
what happens in each clip for the oracle annotator and for per-kind scores.
"""

import csv
import json
import logging
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import soundfile
from jaxtyping import Bool, Float, UInt8

from aurora_trl.constants import NULL_CATEGORY, NUM_FRAMES, SAMPLING_RATE
from aurora_trl.data.scene import (
    DURATION,
    UNSEEN_CATEGORIES,
    Reference,
    Scene,
    SceneObject,
    count_audio_kinds,
    draw_references,
    draw_scene,
)


logger = logging.getLogger(__name__)

FORMAT_VERSION = 1  # raise it when the same arguments give other clips
SPLITS = ("train", "val", "test_s", "test_u", "test_n")
NULL_CLIP_EVERY = 14  # gives 5 % null rows in train and val (Ref-AVS: 4.3 and 5.3 %); such clips have fewer rows
MIN_EVAL_CLIPS = 8
AUDIO_SHARE = 0.72  # chance of a question about the sound while one is left: gives about 65 % of the rows
UNSEEN_AUDIO_SHARE = 0.95  # to the same end: fewer such questions have the unseen object as their answer

PITCHES = {"red": 250.0, "green": 500.0, "blue": 1000.0, "yellow": 2000.0}  # Hz, an octave apart
PARTIALS = (1, 3, 5, 7)  # of a square's sound, each as strong as 1 / its number
MAX_PARTIAL = 7500.0  # Hz, below half the sampling rate
NOISE_BAND = 2 ** (1 / 4)  # a triangle's noise reaches a quarter of an octave to both sides of its pitch
NOISE_FFT = 2**17  # samples, more than the longest sound
FADE = 0.06  # seconds
NOISE_FLOOR_DB = (-66.0, -56.0)

PAINTS = {"red": (205, 45, 45), "green": (45, 165, 65), "blue": (45, 80, 205), "yellow": (225, 200, 40)}
PAINT_JITTER = 15
SQUARE_HALF_SIDE = 0.87  # in radii, so that a square is about as large as a circle
TRIANGLE = ((0.0, -1.1), (1.1, 0.85), (-1.1, 0.85))  # corners in radii
SUBPIXEL_BITS = 4  # of OpenCV's fixed-point coordinates
JPEG_QUALITY = 95
PNG_COMPRESSION = 1


def write_dataset(
    root: str | Path,
    num_clips: int = 200,
    seed: int = 0,
    num_eval_clips: int | None = None,
    image_size: int = 112,
    references_per_clip: int = 3,
) -> Path:
    """
    Write the synthetic data set, or keep it if the folder already holds exactly this one.

    A clip depends on the seed, its split and its number only: a larger data set begins with the smaller one.

    Args:
        root (`str` or `Path`):
            Folder to write. It appears only when it is whole.
        num_clips (`int`, *optional*, defaults to `200`):
            Clips of the train split.
        seed (`int`, *optional*, defaults to `0`):
            Non-negative seed.
        num_eval_clips (`int`, *optional*, defaults to `max(8, num_clips // 10)`):
            Clips of each other split.
        image_size (`int`, *optional*, defaults to `112`):
            Side of the square frames in pixels.
        references_per_clip (`int`, *optional*, defaults to `3`):
            Expressions (rows) per clip, where the clip allows as many.

    Returns:
        `Path`: `root`, to be read with `load_refavs(root, split)`.

    Example:

    ```python
    >>> root = synthetic.write_dataset("data/synthetic", num_clips=200, seed=0)
    >>> train = load_refavs(root, "train")
    ```
    """
    if num_clips < 1 or seed < 0 or image_size < 16 or references_per_clip < 1:
        raise ValueError(
            f"Cannot write num_clips={num_clips}, seed={seed}, image_size={image_size}, "
            f"references_per_clip={references_per_clip}: all must be positive (the seed may be 0) and frames at least "
            "16 pixels wide."
        )
    root = Path(root)
    arguments = {
        "format_version": FORMAT_VERSION,
        "num_clips": num_clips,
        "num_eval_clips": max(MIN_EVAL_CLIPS, num_clips // 10) if num_eval_clips is None else num_eval_clips,
        "seed": seed,
        "image_size": image_size,
        "references_per_clip": references_per_clip,
    }
    if _is_written(root, arguments):
        return root
    _write_whole(root, arguments)
    return root


def read_scenes(root: str | Path) -> dict[str, tuple[Scene, Reference]]:
    """
    What happens in each clip and what each row asks for, by uid.

    Args:
        root (`str` or `Path`): A folder written by [`write_dataset`].
    """
    path = Path(root) / "scenes.jsonl"
    if not path.is_file():
        raise ValueError(
            f"There is no {path}: only data sets written by `synthetic.write_dataset` know their scenes. "
            "Use another annotator for other data."
        )
    found = {}
    with path.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            scene = Scene.from_json(record["scene"])
            for fields in record["references"]:
                uid = fields.pop("uid")
                found[uid] = scene, Reference(**fields)
    return found


def draw_clip(
    split: str, index: int, seed: int = 0, references_per_clip: int = 3
) -> tuple[str, Scene, list[Reference], np.random.Generator]:
    """
    Draw one clip's name, scene and references.

    Args:
        split (`str`): One of `SPLITS`.
        index (`int`): Number of the clip in its split.
        seed (`int`, *optional*, defaults to `0`): Seed of the data set.
        references_per_clip (`int`, *optional*, defaults to `3`): See [`write_dataset`].

    Returns:
        `tuple`: name, scene, references, and the generator to render the clip with.
    """
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    null = split == "test_n" or (split in ("train", "val") and index % NULL_CLIP_EVERY == NULL_CLIP_EVERY // 2)
    unseen = split == "test_u"
    scene, targets = draw_scene(rng, unseen=unseen, null=null), None
    if unseen:  # the unseen object must be the answer to a question about the sound
        while not count_audio_kinds(scene, targets := _find_unseen(scene)):
            scene = draw_scene(rng, unseen=True)
    share = UNSEEN_AUDIO_SHARE if unseen else AUDIO_SHARE
    references = draw_references(rng, scene, references_per_clip, null=null, targets=targets, audio_share=share)
    name = f"{'null_s' if null else 'syn'}-{split}-{index:06d}"
    return name, scene, references, rng


def _find_unseen(scene: Scene) -> set[int]:
    return {i for i, obj in enumerate(scene.objects) if obj.category in UNSEEN_CATEGORIES}


def _is_written(root: Path, arguments: dict) -> bool:
    """True if `root` holds this very data set, False if it may be written; anything else in it is an error."""
    if root.is_file():
        raise ValueError(f"Cannot write a data set to {root}: it is a file. Give the name of a new folder.")
    if not root.is_dir() or not any(root.iterdir()):
        return False
    marker = root / "synthetic.json"
    found = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else None
    if found != arguments:
        holds = f"a synthetic data set of {found}" if found else "something else"
        raise ValueError(
            f"Refusing to write the synthetic data set of {arguments} to {root}: the folder holds {holds}. "
            "Choose another folder, or delete this one."
        )
    return True


def _write_whole(root: Path, arguments: dict) -> None:
    """Write under another name, then rename: `root` is there when it is whole."""
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = root.parent / f".{root.name}.{os.getpid()}.tmp"
    shutil.rmtree(unfinished, ignore_errors=True)  # of a killed process with this number
    unfinished.mkdir()
    try:
        _write_all(unfinished, arguments)
        try:
            unfinished.rename(root)
        except OSError:  # another process was faster
            if not _is_written(root, arguments):
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_all(root: Path, arguments: dict) -> None:
    rows, num_rows = [], 0
    with (root / "scenes.jsonl").open("w", encoding="utf-8") as sidecar:
        for split in SPLITS:
            num_clips = arguments["num_clips" if split == "train" else "num_eval_clips"]
            for index in range(num_clips):
                vid, scene, references, rng = draw_clip(
                    split, index, arguments["seed"], arguments["references_per_clip"]
                )
                uids = _name_rows(vid, scene, references)
                _write_media(root, vid, scene, references, rng, arguments["image_size"])
                for uid, reference in zip(uids, references, strict=True):
                    rows.append((vid, uid, split, reference.target or 0, reference.expression))
                asked = [{"uid": uid, **vars(ref)} for uid, ref in zip(uids, references, strict=True)]
                record = {"vid": vid, "split": split, "scene": scene.to_json(), "references": asked}
                sidecar.write(json.dumps(record) + "\n")
            logger.info("%s: %d clips, %d rows", split, num_clips, len(rows) - num_rows)
            num_rows = len(rows)
    with (root / "metadata.csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table).writerows([("vid", "uid", "split", "fid", "exp"), *rows])
    (root / "synthetic.json").write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")


def _name_rows(vid: str, scene: Scene, references: list[Reference]) -> list[str]:
    """Row names as in Ref-AVS: clip, category, running number from 1."""
    count, uids = {}, []
    for reference in references:
        category = NULL_CATEGORY if reference.target is None else scene.objects[reference.target].category
        count[category] = count.get(category, 0) + 1
        uids.append(f"{vid}_{category}_{count[category]}")
    return uids


def _write_media(
    root: Path, vid: str, scene: Scene, references: list[Reference], rng: np.random.Generator, image_size: int
) -> None:
    media = root / "media" / vid
    (media / "frames").mkdir(parents=True)
    waveform = render_waveform(scene, rng)
    soundfile.write(media / "audio.wav", waveform, SAMPLING_RATE, subtype="PCM_16")
    frames, masks = render_frames(scene, rng, image_size)
    for number, frame in enumerate(frames):
        _write_image(media / "frames" / f"{number}.jpg", frame[..., ::-1], cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    for target in {reference.target for reference in references} - {None}:
        folder = root / "gt_mask" / vid / f"fid_{target}"
        folder.mkdir(parents=True)
        for number, mask in enumerate(masks[target]):
            picture = mask.astype(np.uint8) * 255
            _write_image(folder / f"{number:05d}.png", picture, cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION)


def _write_image(path: Path, picture: np.ndarray, option: int, value: int) -> None:
    if not cv2.imwrite(str(path), picture, [option, value]):
        raise OSError(f"OpenCV could not write {path}: is the disk full?")


def render_waveform(
    scene: Scene, rng: np.random.Generator, sampling_rate: int = SAMPLING_RATE
) -> Float[np.ndarray, " samples"]:
    """
    The clip's sound: each category has its own timbre (pitch by color, spectrum by shape), over a weak noise floor.

    Args:
        scene (`Scene`): What happens in the clip.
        rng (`np.random.Generator`): Source of phases and noise.
        sampling_rate (`int`, *optional*, defaults to `16000`): Samples per second.
    """
    floor = 10 ** (rng.uniform(*NOISE_FLOOR_DB) / 20)
    waveform = floor * rng.standard_normal(round(DURATION * sampling_rate))
    for obj in scene.objects:
        if obj.sound is None:
            continue
        num_samples = round(obj.sound.length * sampling_rate)
        tone = _draw_timbre(obj, num_samples, sampling_rate, rng)
        tone *= 10 ** (obj.sound.level_db / 20) / np.sqrt(np.mean(tone**2))
        fade = np.sin(np.linspace(0, np.pi / 2, round(FADE * sampling_rate))) ** 2
        tone[: len(fade)] *= fade
        tone[-len(fade) :] *= fade[::-1]
        begin = round(obj.sound.onset * sampling_rate)
        waveform[begin : begin + num_samples] += tone
    return np.clip(waveform, -1, 1)


def _draw_timbre(
    obj: SceneObject, num_samples: int, sampling_rate: int, rng: np.random.Generator
) -> Float[np.ndarray, " samples"]:
    """A circle is a sine, a square its odd partials, a triangle a band of noise."""
    pitch = PITCHES[obj.color]
    if obj.shape == "triangle":
        frequencies = np.fft.rfftfreq(NOISE_FFT, 1 / sampling_rate)
        inside = (frequencies > pitch / NOISE_BAND) & (frequencies < pitch * NOISE_BAND)
        spectrum = np.zeros(len(frequencies), complex)
        spectrum[inside] = np.exp(2j * np.pi * rng.random(inside.sum()))
        return np.fft.irfft(spectrum, NOISE_FFT)[:num_samples]
    phase = 2 * np.pi * pitch * np.arange(num_samples) / sampling_rate + 2 * np.pi * rng.random()
    if obj.shape == "circle":
        return np.sin(phase)
    return sum(np.sin(k * phase) / k for k in PARTIALS if k * pitch < MAX_PARTIAL)


def render_frames(
    scene: Scene, rng: np.random.Generator, image_size: int = 112
) -> tuple[UInt8[np.ndarray, "t h w 3"], Bool[np.ndarray, "n t h w"]]:
    """
    The clip's pictures and, for each object, the part of it that is visible.

    Args:
        scene (`Scene`): What happens in the clip.
        rng (`np.random.Generator`): Source of the background and the shades.
        image_size (`int`, *optional*, defaults to `112`): Side of the frames in pixels.
    """
    background = _draw_background(rng, image_size)
    paints = [np.array(PAINTS[obj.color]) + rng.integers(-PAINT_JITTER, PAINT_JITTER + 1, 3) for obj in scene.objects]
    paints = [tuple(int(value) for value in np.clip(paint, 0, 255)) for paint in paints]
    frames = np.repeat(background[None], NUM_FRAMES, axis=0)
    masks = np.zeros((len(scene.objects), NUM_FRAMES, image_size, image_size), np.uint8)
    for t in range(NUM_FRAMES):
        for i, obj in enumerate(scene.objects):
            outline = _place(obj, t / (NUM_FRAMES - 1), image_size)
            masks[:i, t][:, _fill(np.zeros_like(masks[i, t]), outline, 1).astype(bool)] = 0
            _fill(masks[i, t], outline, 1)
            _fill(frames[t], outline, paints[i], cv2.LINE_AA)
    grain = rng.integers(-4, 5, (image_size, image_size, 1))
    return np.clip(frames + grain, 0, 255).astype(np.uint8), masks.astype(bool)


def _draw_background(rng: np.random.Generator, image_size: int) -> UInt8[np.ndarray, "h w 3"]:
    """A soft gray texture with a slight tint."""
    coarse = rng.uniform(-28, 28, (5, 5)).astype(np.float32)
    texture = cv2.resize(coarse, (image_size, image_size), interpolation=cv2.INTER_CUBIC)
    level, tint = rng.uniform(90, 165), rng.uniform(-8, 8, 3)
    return np.clip(texture[..., None] + level + tint, 0, 255).astype(np.uint8)


def _place(obj: SceneObject, progress: float, image_size: int) -> np.ndarray:
    """Outline at a moment between 0 and 1, in OpenCV's fixed-point pixels."""
    center = (1 - progress) * np.array(obj.start) + progress * np.array(obj.end)
    if obj.shape == "circle":
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif obj.shape == "square":
        corners = SQUARE_HALF_SIDE * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    else:
        corners = np.array(TRIANGLE)
    points = (center + obj.radius * corners) * image_size - 0.5  # pixel centers are whole numbers
    return np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)


def _fill(picture: np.ndarray, outline: np.ndarray, value, line_type: int = cv2.LINE_8) -> np.ndarray:
    return cv2.fillPoly(picture, [outline], value, lineType=line_type, shift=SUBPIXEL_BITS)
