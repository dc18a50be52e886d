"""
The AURORA paper's released checkpoints: DeepSpeed's `mp_rank_00_model_states.pt` with PEFT's names, read into the
names of [`AuroraModel`], LoRA merged.

A mapping of names in a file of its own; loads nothing but the one file, and only tensors and plain containers of it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from aurora_trl.backbones.videollama2.state_dict import RENAMINGS
from aurora_trl.model.tensor_files import load_tensors


FILE_NAME = "mp_rank_00_model_states.pt"
# The released training code's LoRA.
LORA_ALPHA = 16
PEFT_PREFIX = "base_model.model."
LORA_A, LORA_B, BASE = ".lora_A.default.weight", ".lora_B.default.weight", ".base_layer"
# (released, ours), beside the renamings of the backbone.
POLICY_RENAMINGS = (
    (r"^model\.visual_model\.", "sam."),
    (r"^model\.text_hidden_fcs\.0\.0\.", "seg_projector.hidden."),
    (r"^model\.text_hidden_fcs\.0\.2\.", "seg_projector.output."),
    *RENAMINGS,
)


def read_released_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """
    The tensors of a released checkpoint, under its own names.

    Args:
        path (`str` or `Path`): `mp_rank_00_model_states.pt`, or a folder that holds it.

    Raises:
        ValueError: if there is no such file, it is cut off, holds code instead of tensors, or no `module`.
    """
    path = Path(path)
    if path.is_dir():
        path = next(path.rglob(FILE_NAME), path / FILE_NAME)
    if not path.is_file():
        raise ValueError(f"There is no {path}. Give the released {FILE_NAME}, or the folder that holds it.")
    checkpoint = load_tensors(path)
    module = checkpoint.get("module") if isinstance(checkpoint, Mapping) else None
    if not isinstance(module, Mapping) or not all(isinstance(value, Tensor) for value in module.values()):
        raise ValueError(
            f"{path} is no DeepSpeed checkpoint of a whole model: it has no `module` of tensors. Give the released "
            f"{FILE_NAME}, not one of its optimizer states."
        )
    return dict(module)


def policy_state(released: Mapping[str, Tensor], lora_alpha: float = LORA_ALPHA) -> dict[str, Tensor]:
    r"""
    A released state dict under the names of [`AuroraModel`], each LoRA pair merged into its weight:
    \(W + \frac{\alpha}{r} B A\).

    Args:
        released (`Mapping[str, Tensor]`):
            Of [`read_released_checkpoint`].
        lora_alpha (`float`, *optional*, defaults to `16`):
            The released training code's.

    Raises:
        ValueError: if half of a LoRA pair or the weight that it belongs to is missing, or two keys get one name.
    """
    state = {key.removeprefix(PEFT_PREFIX): value for key, value in released.items()}
    pairs = [key.removesuffix(LORA_A) for key in state if key.endswith(LORA_A)]
    for module in pairs:
        weight = next((name for name in (f"{module}{BASE}.weight", f"{module}.weight") if name in state), None)
        if weight is None or module + LORA_B not in state:
            raise ValueError(
                f"The checkpoint has {module}{LORA_A} without its weight or its other half: it is incomplete. Fetch "
                "it again."
            )
        a, b = state.pop(module + LORA_A), state.pop(module + LORA_B)
        merged = state[weight].float() + lora_alpha / a.shape[0] * b.float() @ a.float()
        state[weight] = merged.to(state[weight].dtype)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.replace(f"{BASE}.", ".")
        name = _rename(name)
        if name in renamed:
            raise ValueError(
                f"Two tensors of the checkpoint are {name!r} here, one of them {key!r}. It is no AURORA's."
            )
        renamed[name] = value
    return renamed


def _rename(name: str) -> str:
    for pattern, ours in POLICY_RENAMINGS:
        renamed, count = re.subn(pattern, ours, name)
        if count:
            return renamed
    return name
