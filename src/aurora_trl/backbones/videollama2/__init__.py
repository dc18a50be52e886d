"""
Native transformers port of VideoLLaMA2.1-7B-AV (SigLIP + STC connector, BEATs, Qwen2).

Names are resolved on first use, so that importing this package imports no torch.
"""

import importlib


_HOME_OF = {
    "BeatsConfig": "configuration",
    "VideoLlama2Config": "configuration",
    "VideoLlama2ForConditionalGeneration": "modeling",
    "VideoLlama2Model": "modeling",
    "VideoLlama2FeatureExtractor": "audio_features",
    "VideoLlama2Processor": "processing",
}
__all__ = [*_HOME_OF]


def __getattr__(name):
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
