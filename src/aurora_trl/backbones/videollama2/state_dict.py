"""
Names in the released VideoLLaMA2-AV checkpoints against names in this port. transformers renames on load and renames
back on save, for `VideoLlama2ForConditionalGeneration` alone: a model that holds a `VideoLlama2Model` under another
class keeps the port's names.
"""

from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming


# (released, port); both anchored at the start of the key.
RENAMINGS = (
    (r"^model\.embed_tokens", "model.language_model.embed_tokens"),
    (r"^model\.layers", "model.language_model.layers"),
    (r"^model\.norm", "model.language_model.norm"),
    (r"^model\.vision_tower\.vision_tower\.vision_model", "model.vision_tower"),
    (r"^model\.audio_tower\.encoder\.pos_conv\.0\.weight_g", "model.audio_tower.encoder.pos_conv.magnitude"),
    (r"^model\.audio_tower\.encoder\.pos_conv\.0\.weight_v", "model.audio_tower.encoder.pos_conv.direction"),
    (r"^model\.audio_tower\.encoder\.pos_conv\.0\.bias", "model.audio_tower.encoder.pos_conv.bias"),
    (
        r"^model\.audio_tower\.encoder\.layers\.0\.self_attn\.relative_attention_bias",
        "model.audio_tower.encoder.relative_attention_bias",
    ),
)

# Keys of released checkpoints that nothing reads: the audio classifier, copies of the shared position table, and the
# vision tower's output norm and pooling head.
UNUSED_KEYS = (
    r"audio_tower\.predictor\.",
    r"audio_tower\.encoder\.layers\.\d+\.self_attn\.relative_attention_bias",
    r"vision_tower\.(vision_tower\.vision_model\.)?(head|post_layernorm)\.",
)


def register_renamings(class_name: str) -> None:
    """Makes transformers apply `RENAMINGS` to models of this class."""
    renamings = [WeightRenaming(source_patterns=released, target_patterns=port) for released, port in RENAMINGS]
    register_checkpoint_conversion_mapping(class_name, renamings, overwrite=True)
