"""
The exact signatures of the methods of TRL (and its base classes) that our trainers override.

A failure here after an upgrade says: read what changed in that method, adapt the override, then update the line below.
"""

import inspect

import pytest
from trl import GRPOTrainer, SFTTrainer

from aurora_trl.trainers.distill_trainer import AuroraDistillTrainer
from aurora_trl.trainers.grpo_trainer import AuroraGRPOTrainer
from aurora_trl.trainers.sft_trainer import AuroraSFTTrainer


SIGNATURES = {
    (GRPOTrainer, "__init__"): (
        "self, model, reward_funcs=, args=, train_dataset=, eval_dataset=, processing_class=, "
        "reward_processing_classes=, callbacks=, optimizers=, quantization_config=, peft_config=, tools=, "
        "rollout_func=, environment_factory="
    ),
    (GRPOTrainer, "_set_signature_columns_if_needed"): ("self"),
    (GRPOTrainer, "_generate_and_score_completions"): ("self, inputs"),
    (GRPOTrainer, "_tokenize_prompts"): ("self, prompts"),
    (GRPOTrainer, "_get_per_token_logps_and_entropies"): (
        "self, model, input_ids, attention_mask, logits_to_keep, batch_size=, compute_entropy=, "
        "compute_aux_loss=, pixel_values=, image_grid_thw=, num_images=, pixel_attention_mask=, "
        "spatial_shapes=, num_tiles=, image_sizes=, token_type_ids=, mm_token_type_ids=, image_position_ids="
    ),
    (GRPOTrainer, "_calculate_rewards"): ("self, inputs, prompts, completions, completion_ids_list"),
    (GRPOTrainer, "_compute_loss"): ("self, model, inputs"),
    (GRPOTrainer, "create_optimizer"): ("self, model="),
    (SFTTrainer, "__init__"): (
        "self, model, args=, data_collator=, train_dataset=, eval_dataset=, processing_class=, "
        "compute_loss_func=, compute_metrics=, callbacks=, optimizers=, optimizer_cls_and_kwargs=, "
        "preprocess_logits_for_metrics=, quantization_config=, peft_config=, formatting_func="
    ),
    (SFTTrainer, "compute_loss"): ("self, model, inputs, return_outputs=, num_items_in_batch="),
    (SFTTrainer, "create_optimizer"): ("self, model="),
}


def parameters(method) -> str:
    """Names, kinds and whether there is a default; annotations and default values may change freely."""
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        marks.get(parameter.kind, "") + name + ("" if parameter.default is inspect.Parameter.empty else "=")
        for name, parameter in inspect.signature(method).parameters.items()
    )


@pytest.mark.parametrize(("host", "method"), SIGNATURES, ids=lambda value: getattr(value, "__name__", value))
def test_signature(host, method):
    assert parameters(getattr(host, method)) == SIGNATURES[host, method]


@pytest.mark.parametrize(
    ("trainer", "host"),
    [(AuroraSFTTrainer, SFTTrainer), (AuroraDistillTrainer, SFTTrainer), (AuroraGRPOTrainer, GRPOTrainer)],
)
def test_every_override_is_pinned(trainer, host):
    overridden = {name for name, value in vars(trainer).items() if inspect.isfunction(value) and hasattr(host, name)}
    assert overridden <= {name for pinned_host, name in SIGNATURES if pinned_host is host}
