"""Data: media files, the readers and the synthetic data set. Names are resolved on first use."""

import importlib


_HOME_OF = {
    "load_refavs": "aurora_trl.data.refavs",
    "load_avsbench": "aurora_trl.data.avsbench",
    "load_jsonl": "aurora_trl.data.custom",
    "attach_completions": "aurora_trl.data.rows",
    "MissingAudioError": "aurora_trl.data.media",
    "SilentAudioError": "aurora_trl.data.media",
    "UnreadableMediaError": "aurora_trl.data.media",
    "MaskMismatchError": "aurora_trl.data.media",
    "MissingFilesError": "aurora_trl.data.rows",
    "UnsafePathError": "aurora_trl.data.rows",
}
_MODULES = ("avsbench", "custom", "media", "refavs", "scene", "synthetic", "video")


def __getattr__(name):
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"aurora_trl.data.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*_HOME_OF, *_MODULES])
