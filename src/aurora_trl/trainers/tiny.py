"""
The embedded default before any training: a tokenizer of the generated data set's own words, a random tiny backbone in
VideoLLaMA2's shape, and a random tiny SAM.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aurora_trl.answer import CORRECTION_TRIGGERS, render_answer
from aurora_trl.backbones.base import backbone_model_class
from aurora_trl.backbones.tiny import build_tiny_processor, tiny_videollama2_config, train_tiny_tokenizer
from aurora_trl.constants import SEG_TOKEN
from aurora_trl.data.scene import CATEGORIES
from aurora_trl.model.modeling import AuroraModel
from aurora_trl.model.processing import AuroraProcessor
from aurora_trl.model.sam import build_sam, custom_sam_config
from aurora_trl.reasoning.oracle import OracleAnnotator


@dataclass
class TinyPolicyConfig:
    r"""
    Args:
        output_dir (`str`, *optional*, defaults to `"outputs/tiny/base"`): where the policy folder is written.
        vocab_size (`int`, *optional*, defaults to `512`): entries of the tokenizer, at most.
        backbone (`dict`, *optional*): overrides of [`~aurora_trl.backbones.tiny.tiny_videollama2_config`].
        sam (`dict`, *optional*): overrides of [`~aurora_trl.model.sam.CustomSam`].
        policy_seed (`int`, *optional*, defaults to `0`): seed of the random weights.
    """

    output_dir: str = "outputs/tiny/base"
    vocab_size: int = 512
    backbone: dict[str, Any] = field(default_factory=dict)
    sam: dict[str, Any] = field(default_factory=dict)
    policy_seed: int = 0


def _corpus(rows: Iterable[dict[str, Any]], annotator: OracleAnnotator) -> list[str]:
    texts = [*CORRECTION_TRIGGERS, render_answer()]
    # Unseen compositions are made of seen words, but as whole words only if the tokenizer has met them.
    texts += [f"So the target is {category}." for category in CATEGORIES] * len(CORRECTION_TRIGGERS)
    for row in rows:
        texts += [row["prompt"][-1]["content"], annotator.reason(row), render_answer(row["category"])]
    return [text.replace(SEG_TOKEN, "") for text in texts]


def build_tiny_policy(
    rows: Iterable[dict[str, Any]], root: Path, config: TinyPolicyConfig
) -> tuple[AuroraModel, AuroraProcessor]:
    """
    A random policy in the paper's architecture.

    Args:
        rows (`datasets.Dataset`):
            Of the generated data set: its words make the tokenizer.
        root (`Path`):
            Its folder.
        config ([`TinyPolicyConfig`]):
            Sizes and seed.
    """
    torch.manual_seed(config.policy_seed)
    tokenizer = train_tiny_tokenizer(_corpus(rows, OracleAnnotator(root)), config.vocab_size)
    sam_config = custom_sam_config(**config.sam)
    backbone_config = tiny_videollama2_config(len(tokenizer), **config.backbone)
    processor = AuroraProcessor(build_tiny_processor(tokenizer, backbone_config), sam_config["image_size"])
    backbone = backbone_model_class(backbone_config.model_type)(backbone_config)
    if processor.seg_token_id >= backbone.get_input_embeddings().weight.shape[0]:
        backbone.resize_token_embeddings(processor.seg_token_id + 1)
    model = AuroraModel.from_parts(backbone, build_sam(sam_config), sam_config, processor.seg_token_id)
    return model, processor
