"""
Reasoning audio-visual segmentation with TRL: the policy, its three trainers, rewards, losses and metrics of AURORA.

Names are resolved on first use, so that `import aurora_trl` alone imports neither torch nor transformers.
"""

import importlib
from pathlib import Path


__version__ = "0.1.0"

_HOME_OF = {
    "AuroraConfig": "aurora_trl.model.configuration",
    "AuroraModel": "aurora_trl.model.modeling",
    "AuroraProcessor": "aurora_trl.model.processing",
    "AuroraSFTConfig": "aurora_trl.trainers.sft_config",
    "AuroraSFTTrainer": "aurora_trl.trainers.sft_trainer",
    "AuroraDistillConfig": "aurora_trl.trainers.distill_config",
    "AuroraDistillTrainer": "aurora_trl.trainers.distill_trainer",
    "AuroraGRPOConfig": "aurora_trl.trainers.grpo_config",
    "AuroraGRPOTrainer": "aurora_trl.trainers.grpo_trainer",
}
__all__ = [*_HOME_OF, "tiny_checkpoint"]


def tiny_checkpoint() -> Path:
    """
    Folder of the embedded checkpoint: a tiny stage-2 policy, what the GRPO recipe starts from.

    Raises:
        FileNotFoundError: if this installation was built without it.
    """
    path = Path(__file__).parent / "assets" / "tiny"
    if not (path / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"The embedded checkpoint is missing at {path}: this installation was built without package data. "
            "Reinstall aurora_trl, or rebuild the checkpoint with `python recipes/demo.py`."
        )
    return path


def __getattr__(name):
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
