"""
Segment the object a sentence refers to in your own video.

    python examples/segment_a_clip.py clip.mp4 --text "The first object to make a sound." --out outputs/clip
    python examples/segment_a_clip.py 7.jpg --audio audio.wav --text "The object making a sound."
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
from trl import ModelConfig

from aurora_trl.answer import parse
from aurora_trl.constants import NUM_FRAMES
from aurora_trl.data.media import MissingAudioError, SilentAudioError, read_audio, read_frame
from aurora_trl.data.video import read_video
from aurora_trl.trainers.script import AuroraScriptArguments, load_policy
from aurora_trl.viz import contact_sheet, overlay_masks


PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", help="a video, or one picture (then with --audio)")
    parser.add_argument("--text", default="The first object to make a sound.", help="the reference")
    parser.add_argument("--audio", help="sound file, instead of the video's own")
    parser.add_argument("--out", default="outputs/clip", help="folder for pictures and answer.json")
    parser.add_argument("--checkpoint", default="tiny", help="policy folder; 'tiny' is the embedded one")
    parser.add_argument("--allow-silent", action="store_true", help="go on without sound")
    return parser.parse_args(argv)


def read_clip(arguments: argparse.Namespace):
    """Frames (t, h, w, 3) and the waveform: of a video, or of one picture and a sound file."""
    if Path(arguments.clip).suffix.lower() in PICTURES:
        frames = read_frame(arguments.clip)[None]
        return frames, read_audio(arguments.audio, allow_silent=arguments.allow_silent) if arguments.audio else None
    silent_video = arguments.allow_silent or arguments.audio is not None
    clip = read_video(arguments.clip, num_frames=NUM_FRAMES, allow_silent=silent_video)
    waveform = read_audio(arguments.audio) if arguments.audio else clip.waveform
    return clip.frames, waveform


def main(argv=None):
    arguments = parse_arguments(argv)
    frames, waveform = read_clip(arguments)
    model_args = ModelConfig(model_name_or_path=arguments.checkpoint, dtype="auto")
    model, processor = load_policy(model_args, AuroraScriptArguments())
    result = model.eval().segment(frames, waveform, arguments.text, processor, allow_silent=arguments.allow_silent)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(overlay_masks(frames, result.masks)):
        cv2.imwrite(str(out / f"overlay_{i:02d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    sheet = contact_sheet(frames, None, [(result.text, result.masks if result.has_seg else None)], arguments.text)
    cv2.imwrite(str(out / "sheet.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    answer = {
        "text": result.text,
        "category": parse(result.text).category,
        "has_seg": result.has_seg,
        "is_empty": not result.masks.any(),
        "covered": result.masks.mean(axis=(1, 2)).round(4).tolist(),
    }
    (out / "answer.json").write_text(json.dumps(answer, indent=2) + "\n")
    sys.stdout.write(f"{result.text}\n{out / 'sheet.png'}\n")
    return answer


if __name__ == "__main__":
    try:
        main()
    except (MissingAudioError, SilentAudioError) as error:
        sys.exit(f"segment_a_clip: {error} (--allow-silent goes on without sound, --audio gives another sound)")
    except (ValueError, OSError) as error:
        sys.exit(f"segment_a_clip: {error}")
