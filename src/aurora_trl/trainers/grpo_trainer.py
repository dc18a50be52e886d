"""Stage 3: GRPO whose rollout decodes the [SEG] state into masks, for rewards and for the loss."""

import os
from collections.abc import Callable, Sized

import torch
from torch import Tensor
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing

from aurora_trl.data.collator import first_row, is_audio_visual, load_clips, require_processor
from aurora_trl.data.validation import validate_rows
from aurora_trl.metrics import frame_iou
from aurora_trl.model.generation import encode_clips, segment_completions
from aurora_trl.model.processing import PreparedClip, batch_media
from aurora_trl.rewards import class_reward, format_reward, iou_reward
from aurora_trl.trainers.callbacks import write_rollout_picture
from aurora_trl.trainers.grpo_config import AuroraGRPOConfig
from aurora_trl.trainers.optimization import scale_mask_decoder_lr
from aurora_trl.trainers.policy_forward import (
    PolicyForward,
    base_policy,
    require_finite,
    require_finite_parameters,
    segmentation_losses,
)


class AuroraGRPOTrainer(GRPOTrainer):
    r"""
    GRPO with masks: Eq. (8), GRPO + BCE + Dice, of the AURORA paper.

    For rows with a clip, the media go into generation and loss, every candidate's masks are decoded inside the
    rollout and handed to the rewards as `pred_masks` and `gt_masks` (bool (t, h, w); `pred_masks` is None without a
    [SEG]), and the loss reads log-probabilities and masks from one forward. Rows without a clip train as with
    [`~trl.GRPOTrainer`], to the bit. Overrides `__init__`, `create_optimizer`, `_generate_and_score_completions`,
    `_tokenize_prompts`, `_get_per_token_logps_and_entropies`, `_calculate_rewards` and `_compute_loss`.

    Args:
        model (`str`, `PreTrainedModel` or `PeftModel`):
            [`~aurora_trl.AuroraModel`], or a model of the protocol in [`aurora_trl.trainers.policy_forward`].
        reward_funcs (callable or list, *optional*):
            Defaults, for rows with a clip, to the paper's three: format, IoU, class.
        args ([`AuroraGRPOConfig`], *optional*):
            Settings.
        **kwargs:
            As for [`~trl.GRPOTrainer`].

    Example:

    ```python
    trainer = AuroraGRPOTrainer(model, args=args, train_dataset=rows, processing_class=processor)
    trainer.train()
    ```
    """

    _tag_names = ["trl", "aurora", "grpo"]
    _name = "AURORA GRPO"

    def __init__(
        self,
        model,
        reward_funcs: Callable | list[Callable] | None = None,
        args=None,
        train_dataset=None,
        *rest,
        **kwargs,
    ):
        if isinstance(model, os.PathLike):
            model = str(model)
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = AuroraGRPOConfig(f"{name.split('/')[-1]}-GRPO")
        self._clips: list[PreparedClip | None] | None = None
        self.is_audio_visual = train_dataset is not None and is_audio_visual(first_row(train_dataset))
        if self.is_audio_visual:
            if not isinstance(args, AuroraGRPOConfig):
                raise ValueError(
                    f"Rows with a clip need an AuroraGRPOConfig, not {type(args).__name__}: it holds the mask losses' "
                    "weights."
                )
            require_processor(kwargs.get("processing_class") or (rest[1] if len(rest) > 1 else None))
            _require_enough_prompts(train_dataset, args)
            if args.use_vllm:
                raise ValueError(
                    "Rows with a clip can't use vLLM: it has no hidden states to decode. Set use_vllm=False."
                )
            if args.validate_data:
                validate_rows(train_dataset, needs_completion=False, allow_silent=args.allow_silent)
            if reward_funcs is None:
                reward_funcs = [format_reward, iou_reward, class_reward]
            if not isinstance(model, str):
                require_finite_parameters(model)
        super().__init__(model, reward_funcs, args, train_dataset, *rest, **kwargs)
        if self.is_audio_visual:
            policy = base_policy(self.accelerator.unwrap_model(self.model))
            self.generation_kwargs["suppress_tokens"] = policy.config.media_token_ids
            self.generation_config.suppress_tokens = policy.config.media_token_ids

    def create_optimizer(self, *args, **kwargs):
        optimizer = super().create_optimizer(*args, **kwargs)
        if self.is_audio_visual:
            scale_mask_decoder_lr(optimizer, self.model, self.args.mask_decoder_lr_scale)
        return optimizer

    def _generate_and_score_completions(self, inputs):
        if not any(is_audio_visual(row) for row in inputs):
            return super()._generate_and_score_completions(inputs)
        policy = base_policy(self.accelerator.unwrap_model(self.model))
        clips = load_clips(inputs, self.processing_class, self.args.allow_silent)
        distinct = {id(clip): clip.to(self.accelerator.device) for clip in clips if clip is not None}
        with self.accelerator.autocast():
            encode_clips(policy, list(distinct.values()))
        self._clips = [None if clip is None else distinct[id(clip)] for clip in clips]
        try:
            output = super()._generate_and_score_completions(inputs)
            output["clips"] = self._clips
        finally:
            self._clips = None
        if self.args.min_reward_std > 0:
            self._drop_flat_groups(output)
        return output

    def _tokenize_prompts(self, prompts):
        if self._clips is None:
            return super()._tokenize_prompts(prompts)
        without = [i for i, clip in enumerate(self._clips) if clip is None]
        plain_ids = super()._tokenize_prompts([prompts[i] for i in without])[0] if without else []
        plain = dict(zip(without, plain_ids, strict=True))
        prompt_ids = [plain[i] if clip is None else clip.prompt_ids for i, clip in enumerate(self._clips)]
        return prompt_ids, None, batch_media(self._clips)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        # In the rollout (old and reference log-probabilities) TRL passes the model itself: it needs the media too.
        if self._clips is not None and not isinstance(model, PolicyForward):
            model = PolicyForward(self, model, self._clips, with_masks=False)
        return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self._clips is not None:
            self._decode_rollout(inputs, completion_ids_list)
        rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._clips is not None:
            self._log_rollout(inputs, completions, rewards_per_func)
        return rewards_per_func

    def _decode_rollout(self, inputs, completion_ids_list) -> None:
        """Puts `pred_masks` and `gt_masks` into the rows, where the rewards find them."""
        policy = base_policy(self.accelerator.unwrap_model(self.model))
        rows = [i for i, clip in enumerate(self._clips) if clip is not None]
        training = self.model.training
        chunk = self.args.per_device_train_batch_size if training else self.args.per_device_eval_batch_size
        for row in inputs:
            row["pred_masks"] = row["gt_masks"] = None
        num_missing = 0
        with disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            for start in range(0, len(rows), chunk):
                part = rows[start : start + chunk]
                with self.accelerator.autocast():
                    mask_logits, has_seg = segment_completions(
                        policy,
                        [self._clips[i] for i in part],
                        [completion_ids_list[i] for i in part],
                        self._tokenizer.pad_token_id,
                    )
                for i, logits, found in zip(part, mask_logits, has_seg.tolist(), strict=True):
                    clip = self._clips[i]
                    inputs[i]["pred_masks"] = clip.on_labelled(logits > 0).cpu().numpy() if found else None
                    inputs[i]["gt_masks"] = clip.on_labelled(clip.gt_masks).cpu().numpy()
                    num_missing += not found
        self._log_mean("seg/missing_rate", num_missing / max(len(rows), 1))

    def _log_rollout(self, inputs, completions, rewards_per_func: Tensor) -> None:
        mode = "train" if self.model.training else "eval"
        num_generations = self.num_generations if mode == "train" else self.num_generations_eval
        groups = rewards_per_func.view(-1, num_generations, rewards_per_func.shape[1])
        for name, spread in zip(self.reward_func_names, groups.std(dim=1).mean(dim=0).tolist(), strict=True):
            self._metrics[mode][f"rewards/{name}/group_std"].append(spread)
        self._group_std = (groups * self.reward_weights.to(groups.device)).nansum(dim=2).std(dim=1)
        ious = [
            frame_iou(torch.from_numpy(row["pred_masks"]), torch.from_numpy(row["gt_masks"])).mean().item()
            for row in inputs
            if row["pred_masks"] is not None
        ]
        self._log_mean("seg/jaccard", sum(ious) / max(len(ious), 1))
        steps = self.args.rollout_picture_steps
        if mode == "train" and steps and self.state.global_step % steps == 0 and self.accelerator.is_main_process:
            write_rollout_picture(
                self.args.output_dir, self.state.global_step, inputs, completions, rewards_per_func, num_generations
            )

    def _log_mean(self, name: str, value: float) -> None:
        local = torch.tensor(value, dtype=torch.float32, device=self.accelerator.device)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode][name].append(self.accelerator.gather(local).mean().item())

    def _drop_flat_groups(self, output) -> None:
        """Advantage 0 where a group's rewards are all but equal."""
        mode = "train" if self.model.training else "eval"
        num_generations = self.num_generations if mode == "train" else self.num_generations_eval
        is_flat = self._group_std < self.args.min_reward_std
        self._metrics[mode]["frac_groups_dropped"].append(is_flat.to(torch.float32).mean().item())
        num_local = output["advantages"].shape[0]
        start = self.accelerator.process_index * num_local
        flat_rows = is_flat.repeat_interleave(num_generations)[start : start + num_local]
        output["advantages"] = output["advantages"].masked_fill(flat_rows, 0.0)

    def _compute_loss(self, model, inputs):
        clips = inputs.get("clips")
        if clips is None:
            return super()._compute_loss(model, inputs)
        policy = PolicyForward(self, model, clips)
        loss = super()._compute_loss(policy, inputs)
        losses = segmentation_losses(policy.segmented)
        segmentation = (
            self.args.bce_weight * losses["mask_bce_loss"] + self.args.dice_weight * losses["mask_dice_loss"]
        )
        require_finite("The loss", (loss + segmentation).detach())
        for name, value in losses.items():
            self._log_mean(name, value.item())
        steps = self.current_gradient_accumulation_steps if self.model.training else 1
        return loss + segmentation / steps


def _require_enough_prompts(train_dataset, args) -> None:
    """TRL leaves out the last, smaller batch: with fewer prompts than one it would train nothing, and say nothing."""
    num_prompts = args.generation_batch_size // args.num_generations
    if isinstance(train_dataset, Sized) and len(train_dataset) < num_prompts:
        raise ValueError(
            f"A generation batch has {num_prompts} prompts ({args.generation_batch_size} answers, "
            f"num_generations={args.num_generations}), but there are {len(train_dataset)} rows: not one step could be "
            "made. Lower per_device_train_batch_size or steps_per_generation, or give more rows."
        )
