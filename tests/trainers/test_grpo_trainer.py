import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig

from aurora_trl import AuroraGRPOConfig, AuroraGRPOTrainer
from aurora_trl.model.processing import batch_media
from aurora_trl.rewards import class_reward, format_reward, iou_reward
from aurora_trl.trainers import grpo_trainer as module


@pytest.fixture
def grpo_kwargs(training_kwargs, processor):
    """A random policy never says [SEG] by itself: it is biased to, so that some answers have one."""
    return {
        **training_kwargs,
        "num_generations": 2,
        "steps_per_generation": 1,
        "max_completion_length": 8,
        "generation_kwargs": {"sequence_bias": [[[processor.seg_token_id], 4.0]]},
    }


def make_trainer(policy, processor, rows, grpo_kwargs, **overrides):
    args = AuroraGRPOConfig(**{**grpo_kwargs, **overrides.pop("args", {})})
    return AuroraGRPOTrainer(policy, None, args, rows, processing_class=processor, **overrides)


def rollout_batch(trainer, rows, num_prompts=2):
    """Rows of `num_prompts` groups, as the sampler hands them over."""
    return [dict(rows[i]) for i in range(num_prompts) for _ in range(trainer.num_generations)]


def test_log_probabilities_belong_to_the_sampled_tokens(policy, processor, rows, grpo_kwargs):
    trainer = make_trainer(policy, processor, rows, grpo_kwargs)
    output = trainer._generate_and_score_completions(rollout_batch(trainer, rows))
    input_ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    attention_mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    num_completion = output["completion_ids"].shape[1]
    trainer._clips = output["clips"]
    with torch.no_grad():
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, input_ids, attention_mask, num_completion, batch_size=3
        )
        logits = policy(input_ids=input_ids, attention_mask=attention_mask, **batch_media(output["clips"])).logits
    by_hand = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None])[..., 0][:, -num_completion:]
    mask = output["completion_mask"].bool()
    torch.testing.assert_close(logps[mask], by_hand[mask], atol=2e-6, rtol=1e-5)
    # The released code's mistake: media-expanded logits read at the positions of the un-expanded ids.
    num_media = int((input_ids >= policy.config.media_token_ids[0]).sum(1)[0])
    shifted = logits[:, :-1].log_softmax(-1).gather(2, input_ids[:, 1:, None].roll(num_media, 1))[..., 0]
    assert not torch.allclose(logps[mask], shifted[:, -num_completion:][mask], atol=1e-3)


def test_reward_masks_are_loss_masks(policy, processor, rows, grpo_kwargs, monkeypatch):
    trainer = make_trainer(policy, processor, rows, grpo_kwargs)
    rewarded, trained = [], []
    original_segment, original_losses = module.segment_completions, module.segmentation_losses

    def record_segment(*args, **kwargs):
        mask_logits, has_seg = original_segment(*args, **kwargs)
        rewarded.extend(logits if found else None for logits, found in zip(mask_logits, has_seg, strict=True))
        return mask_logits, has_seg

    def record_losses(segmented):
        trained.extend(zip(segmented.mask_logits, segmented.has_seg, strict=True))
        return original_losses(segmented)

    monkeypatch.setattr(module, "segment_completions", record_segment)
    monkeypatch.setattr(module, "segmentation_losses", record_losses)
    output = trainer._generate_and_score_completions(rollout_batch(trainer, rows))
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, output)
    assert len(rewarded) == len(trained) == 4
    assert any(logits is not None for logits in rewarded), "no answer has a [SEG]: the test would be empty"
    for in_reward, (in_loss, has_seg) in zip(rewarded, trained, strict=True):
        assert (in_reward is not None) == bool(has_seg)
        if in_reward is not None:
            torch.testing.assert_close(in_loss, in_reward, atol=1e-6, rtol=0)


def test_mask_losses_are_added_with_their_weights(policy, processor, rows, grpo_kwargs):
    """Eq. (8), and its share of one of two accumulation steps."""
    trainer = make_trainer(policy, processor, rows, grpo_kwargs)
    output = trainer._generate_and_score_completions(rollout_batch(trainer, rows))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2

    def loss_with(bce_weight, dice_weight):
        trainer.args.bce_weight, trainer.args.dice_weight = bce_weight, dice_weight
        return trainer.compute_loss(trainer.model, dict(output)).item()

    plain, weighted = loss_with(0.0, 0.0), loss_with(2.0, 0.5)
    bce, dice = (trainer._metrics["train"][name][-1] for name in ("mask_bce_loss", "mask_dice_loss"))
    assert bce > 0
    assert dice > 0
    assert weighted - plain == pytest.approx((2.0 * bce + 0.5 * dice) / 2, rel=1e-4)


def test_frozen_parameters_stay_and_trainable_ones_move(policy, processor, rows, grpo_kwargs):
    before = {name: parameter.detach().clone() for name, parameter in policy.named_parameters()}
    trainer = make_trainer(policy, processor, rows, grpo_kwargs)
    trainer.train()
    moved = {name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])}
    frozen = {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}
    assert not moved & frozen
    for part in ("model.language_model", "lm_head", "seg_projector", "sam.mask_decoder", "model.vision_tower"):
        assert any(name.startswith(part) for name in moved), part
    log = trainer.state.log_history[0]
    assert {"mask_bce_loss", "mask_dice_loss", "seg/missing_rate", "seg/jaccard"} <= set(log)
    assert {f"rewards/{f.__name__}/group_std" for f in (format_reward, iou_reward, class_reward)} <= set(log)


def test_a_batch_without_any_seg_still_trains(policy, processor, rows, grpo_kwargs):
    def length_reward(completion_ids, **kwargs):
        return [float(len(set(ids))) for ids in completion_ids]

    seg_bias = {"generation_kwargs": {"sequence_bias": [[[processor.seg_token_id], -1e4]]}}
    args = AuroraGRPOConfig(**{**grpo_kwargs, **seg_bias, "max_steps": 1})
    trainer = AuroraGRPOTrainer(policy, [length_reward, iou_reward], args, rows, processing_class=processor)
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["seg/missing_rate"] == 1.0
    assert log["mask_bce_loss"] == log["mask_dice_loss"] == log["rewards/iou_reward/mean"] == 0.0
    assert np.isfinite(log["grad_norm"])
    assert log["grad_norm"] > 0


def test_masks_reach_any_reward_function(policy, processor, rows, grpo_kwargs):
    seen = []

    def spy_reward(pred_masks, gt_masks, category, **kwargs):
        seen.extend(zip(pred_masks, gt_masks, category, strict=True))
        return [0.0] * len(category)

    args = AuroraGRPOConfig(**{**grpo_kwargs, "max_steps": 1})
    AuroraGRPOTrainer(policy, spy_reward, args, rows, processing_class=processor).train()
    assert len(seen) == 4
    for pred_masks, gt_masks, _ in seen:
        assert gt_masks.shape == (10, 112, 112)
        assert gt_masks.dtype == bool
        assert pred_masks is None or (pred_masks.shape == gt_masks.shape and pred_masks.dtype == bool)


def test_lora_changes_only_adapters_and_saved_modules(policy, processor, rows, grpo_kwargs):
    peft_config = LoraConfig(
        r=4,
        target_modules=r".*language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)",
        modules_to_save=["lm_head", "embed_tokens", "seg_projector", "mask_decoder"],
        task_type="CAUSAL_LM",
    )
    before = copy.deepcopy(policy.state_dict())
    trainer = make_trainer(policy, processor, rows, grpo_kwargs, peft_config=peft_config)
    trainer.train()
    model = trainer.model
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all("lora_" in name or "modules_to_save" in name for name in trainable)
    assert any("lora_B" in name and parameter.abs().sum() > 0 for name, parameter in model.named_parameters())
    for part in ("lm_head", "embed_tokens", "seg_projector", "mask_decoder"):
        assert any(part in name for name in trainable), part
    base = {
        name.replace("base_layer.", "").replace("original_module.", ""): p for name, p in policy.state_dict().items()
    }
    for name, value in before.items():
        assert torch.equal(base[name], value), name


@pytest.mark.parametrize("extra", [{"bf16": True}, {"activation_checkpointing": True}, {"num_iterations": 2}])
def test_other_settings_run(policy, processor, rows, grpo_kwargs, extra):
    trainer = make_trainer(policy, processor, rows, grpo_kwargs, args={**extra, "max_steps": 2})
    trainer.train()
    assert all(np.isfinite(log["grad_norm"]) for log in trainer.state.log_history if "grad_norm" in log)


def test_kl_to_a_reference_loaded_from_the_policy_folder(policy, processor, rows, grpo_kwargs, tmp_path):
    policy.save_pretrained(tmp_path / "policy")
    loaded = type(policy).from_pretrained(tmp_path / "policy")
    trainer = make_trainer(loaded, processor, rows, grpo_kwargs, args={"beta": 0.1})
    trainer.train()
    kl = [log["kl"] for log in trainer.state.log_history if "kl" in log]
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[-1] > 1e-6


def test_evaluation_decodes_masks_too(policy, processor, rows, grpo_kwargs):
    trainer = make_trainer(
        policy,
        processor,
        rows,
        grpo_kwargs,
        args={"per_device_eval_batch_size": 4},
        eval_dataset=rows.select(range(2)),
    )
    metrics = trainer.evaluate()
    assert 0 <= metrics["eval_seg/jaccard"] <= 1
    assert np.isfinite(metrics["eval_loss"])


def test_resume_continues_the_same_run(policy, processor, rows, grpo_kwargs):
    whole = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    straight = make_trainer(copy.deepcopy(policy), processor, rows, grpo_kwargs, args=whole)
    straight.train()
    resumed = make_trainer(copy.deepcopy(policy), processor, rows, grpo_kwargs, args=whole)
    resumed.train(resume_from_checkpoint=f"{grpo_kwargs['output_dir']}/checkpoint-2")
    for (name, a), b in zip(straight.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_flat_groups_get_no_advantage(policy, processor, rows, grpo_kwargs):
    noise = iter([0.801, 0.8, 0.0, 1.0])

    def nearly_equal_reward(completions, **kwargs):
        return [next(noise) for _ in completions]

    args = AuroraGRPOConfig(**{**grpo_kwargs, "min_reward_std": 0.01})
    trainer = AuroraGRPOTrainer(policy, nearly_equal_reward, args, rows, processing_class=processor)
    output = trainer._generate_and_score_completions(rollout_batch(trainer, rows))
    assert output["advantages"][:2].tolist() == [0.0, 0.0]
    assert output["advantages"][2] < 0 < output["advantages"][3]


def test_batch_that_groups_do_not_divide_is_refused(grpo_kwargs):
    with pytest.raises(ValueError, match=r"divisible by num_generations \(3\).*batch_size of 3 or 6 fits"):
        AuroraGRPOConfig(**{**grpo_kwargs, "num_generations": 3})


def test_damaged_weights_are_refused(policy, processor, rows, grpo_kwargs):
    with torch.no_grad():
        policy.lm_head.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"lm_head\.weight holds NaN"):
        make_trainer(policy, processor, rows, grpo_kwargs)


def test_too_few_rows_are_refused_instead_of_training_nothing(policy, processor, rows, grpo_kwargs):
    with pytest.raises(ValueError, match="has 2 prompts .* but there are 1 rows"):
        make_trainer(policy, processor, rows.select(range(1)), grpo_kwargs)
    with pytest.raises(ValueError, match="has no rows"):
        make_trainer(policy, processor, rows.select([]), grpo_kwargs)


def test_rows_with_a_clip_need_a_processor_that_prepares_clips(policy, processor, rows, grpo_kwargs):
    for processing_class in (None, processor.tokenizer):
        with pytest.raises(ValueError, match="with `prepare_clip`"):
            make_trainer(policy, processing_class, rows, grpo_kwargs)


def test_clips_with_and_without_sound_train_together(policy, processor, rows, grpo_kwargs):
    """One has audio placeholders and features, the other neither."""
    mixed = rows.select(range(4)).map(lambda row, i: {"audio": row["audio"] if i % 2 else None}, with_indices=True)
    trainer = make_trainer(policy, processor, mixed, grpo_kwargs, args={"allow_silent": True, "max_steps": 2})
    trainer.train()
    assert trainer.state.global_step == 2


def test_a_path_is_a_model_too(policy, processor, rows, grpo_kwargs, tmp_path):
    policy.save_pretrained(tmp_path / "policy")
    args = AuroraGRPOConfig(**{**grpo_kwargs, "max_steps": 1})
    trainer = AuroraGRPOTrainer(tmp_path / "policy", None, args, rows, processing_class=processor)
    assert torch.equal(trainer.model.lm_head.weight, policy.lm_head.weight)
