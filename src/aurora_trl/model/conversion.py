"""
From other people's folders and files to one of ours: a bare backbone joined to a SAM, a released AURORA checkpoint.

Everything is loaded strictly: a tensor that is missing, unexpected or of another shape is named.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, ProcessorMixin

from aurora_trl.backbones.base import backbone_model_class, backbone_processor_class
from aurora_trl.backbones.videollama2.state_dict import UNUSED_KEYS
from aurora_trl.model.configuration import AuroraConfig
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.model.processing import AuroraProcessor
from aurora_trl.model.released import FILE_NAME, policy_state, read_released_checkpoint
from aurora_trl.model.sam import load_sam


def read_model_type(folder: str | Path) -> str:
    """
    The `model_type` of a folder's config.json.

    Raises:
        ValueError: if the folder is no checkpoint.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is no checkpoint: it has no config.json. Give a policy folder, or 'tiny'.")
    try:
        return json.loads(path.read_text())["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} names no `model_type` ({error!r}): it is damaged. Fetch the folder again."
        ) from error


def load_backbone_processor(folder: str | Path, config: PreTrainedConfig) -> ProcessorMixin:
    """The processor of a backbone's folder; a released one holds a tokenizer only, the rest follows from `config`."""
    processor_class = backbone_processor_class(config.model_type)
    if (Path(folder) / "processor_config.json").is_file():
        return processor_class.from_pretrained(folder)
    return processor_class.from_config(config, AutoTokenizer.from_pretrained(folder))


def load_bare_backbone(folder: str | Path, dtype: Any = None) -> tuple[PreTrainedModel, ProcessorMixin]:
    """
    A backbone's folder, as released or as saved by transformers.

    Args:
        folder (`str` or `Path`): Config, weights and tokenizer.
        dtype (`str` or `torch.dtype`, *optional*): Of the weights.
    """
    read_model_type(folder)
    family = AutoConfig.from_pretrained(folder).model_type
    backbone = backbone_model_class(family).from_pretrained(folder, dtype=dtype)
    return backbone, load_backbone_processor(folder, backbone.config)


def is_released(path: str | Path) -> bool:
    """Whether this is, or holds, a released AURORA checkpoint."""
    path = Path(path)
    return path.suffix == ".pt" or (path.is_dir() and next(path.rglob(FILE_NAME), None) is not None)


def join_backbone(
    folder: str | Path,
    sam_checkpoint: str | Path,
    sam_variant: str,
    sam_image_size: int,
    dtype: Any = None,
    system_prompt: str | None = None,
) -> tuple[AuroraModel, AuroraProcessor]:
    """
    A bare backbone with a published SAM; the [SEG] projector is new, and so is the [SEG] row where there was none.

    Args:
        folder (`str` or `Path`):
            Of the backbone: config, weights and tokenizer, as released or as saved by transformers.
        sam_checkpoint (`str` or `Path`):
            A `sam_vit_{h,l,b}.pth`.
        sam_variant (`str`):
            `"vit_h"`, `"vit_l"` or `"vit_b"`.
        sam_image_size (`int`):
            Side of SAM's input in pixels, a multiple of 16.
        dtype (`str` or `torch.dtype`, *optional*):
            Of the weights.
        system_prompt (`str`, *optional*):
            System turn before every prompt.
    """
    backbone, backbone_processor = load_bare_backbone(folder, dtype)
    processor = AuroraProcessor(backbone_processor, sam_image_size, system_prompt)
    if processor.seg_token_id >= backbone.get_input_embeddings().weight.shape[0]:
        backbone.resize_token_embeddings(processor.seg_token_id + 1)
    sam = load_sam(sam_variant, sam_checkpoint, sam_image_size).to(backbone.dtype)
    sam_config = {"variant": sam_variant, "image_size": sam_image_size}
    return AuroraModel.from_parts(backbone, sam, sam_config, processor.seg_token_id), processor


def load_released(
    checkpoint: str | Path,
    base: str | Path,
    sam_config: dict[str, Any] | None = None,
    dtype: Any = None,
    system_prompt: str | None = None,
) -> tuple[AuroraModel, AuroraProcessor]:
    """
    A released AURORA checkpoint, LoRA merged.

    Args:
        checkpoint (`str` or `Path`):
            `mp_rank_00_model_states.pt`, or a folder that holds it. It has all weights, SAM's at 14×14 included.
        base (`str` or `Path`):
            Folder of VideoLLaMA2.1-7B-AV, whose configuration and tokenizer it goes with.
        sam_config (`dict`, *optional*, defaults to ViT-H at 224 px, as released):
            What the SAM inside is.
        dtype (`str` or `torch.dtype`, *optional*):
            Of the weights; as in the file by default.
        system_prompt (`str`, *optional*):
            System turn before every prompt.

    Raises:
        ValueError: if the file can't be read, or a tensor is missing, unexpected or of another shape; named.
    """
    sam_config = sam_config or {"variant": "vit_h", "image_size": 224}
    state = policy_state(read_released_checkpoint(checkpoint))
    backbone_config = AutoConfig.from_pretrained(base)
    processor = AuroraProcessor(
        load_backbone_processor(base, backbone_config), sam_config["image_size"], system_prompt
    )
    name = "model.language_model.embed_tokens.weight"
    if name not in state:
        raise ValueError(
            f"{checkpoint} has no {name} (`embed_tokens`): it is no AURORA checkpoint. Give a released one."
        )
    rows = state[name].shape[0]
    if processor.seg_token_id >= rows:
        raise ValueError(
            f"[SEG] has id {processor.seg_token_id} with the tokenizer of {base}, but {checkpoint} has {rows} rows: "
            "the two don't belong together. Give the folder that it was trained from."
        )
    backbone_config.get_text_config().vocab_size = rows
    config = AuroraConfig(backbone_config=backbone_config, sam_config=sam_config, seg_token_id=processor.seg_token_id)
    unused = [key for key in state if any(re.search(pattern, key) for pattern in UNUSED_KEYS)]
    expected = set(_expected_names(config))
    state = {key: value for key, value in state.items() if key in expected or key not in unused}
    return AuroraModel.from_pretrained(None, config=config, state_dict=state, dtype=dtype or "auto"), processor


def _expected_names(config: AuroraConfig) -> list[str]:
    with torch.device("meta"):
        return list(AuroraModel(config).state_dict())
