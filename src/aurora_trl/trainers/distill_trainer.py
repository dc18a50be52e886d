"""Stage 1: chains of thought, with the [SEG] feature distilled from a teacher that only segments."""

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel
from trl.models.utils import prepare_deepspeed

from aurora_trl.answer import render_answer
from aurora_trl.data.collator import AudioVisualCollator
from aurora_trl.losses import seg_distillation_loss
from aurora_trl.model.generation import read_seg_embeddings
from aurora_trl.trainers.policy_forward import PolicyForward, base_policy, mean_over_answers
from aurora_trl.trainers.sft_trainer import AuroraSFTTrainer


class AuroraDistillTrainer(AuroraSFTTrainer):
    r"""
    Supervised training with a teacher: Eq. (6), CE + BCE + Dice + MSE, of the AURORA paper.

    The teacher sees the same clip and prompt with its own short answer; its [SEG] embedding is the target of the
    student's (Eq. 2). Its mask decoder is the one to give to the student, frozen (paper, 3.1):
    `student.set_frozen("sam.mask_decoder")`.

    Args:
        teacher_model (`PreTrainedModel` or `PeftModel`):
            A policy trained by [`AuroraSFTTrainer`] on short answers; frozen here.
        **kwargs:
            As for [`AuroraSFTTrainer`], `args` being an [`AuroraDistillConfig`].
    """

    _tag_names = ["trl", "aurora", "distillation"]
    _name = "AURORA distillation"

    def __init__(self, model, teacher_model: PreTrainedModel | PeftModel | None = None, **kwargs):
        if teacher_model is None:
            raise ValueError("AuroraDistillTrainer needs a `teacher_model`: train one with AuroraSFTTrainer.")
        super().__init__(model, **kwargs)
        teacher_model.requires_grad_(False)
        if self.is_deepspeed_enabled:
            self.teacher = prepare_deepspeed(teacher_model, self.accelerator)
        else:
            self.teacher = self.accelerator.prepare_model(teacher_model, evaluation_mode=True)
        self.teacher.eval()

    def _make_collator(self, processing_class, args):
        collator = super()._make_collator(processing_class, args)
        names_category = args.teacher_names_category
        return AudioVisualCollator(
            collator.processor,
            teacher_answer=lambda row: render_answer(row["category"] if names_category else None),
            allow_silent=collator.allow_silent,
        )

    def _segmentation_losses(
        self, policy: PolicyForward, clips: list, teacher_completion_ids: list[list[int]]
    ) -> dict[str, Tensor]:
        losses = super()._segmentation_losses(policy, clips)
        teacher = base_policy(self.accelerator.unwrap_model(self.teacher))
        with torch.no_grad(), self.accelerator.autocast():
            target, _ = read_seg_embeddings(
                teacher, policy.segmented.clips, teacher_completion_ids, self._tokenizer.pad_token_id
            )
        per_answer = [
            seg_distillation_loss(student, teacher_embedding)
            for student, teacher_embedding in zip(policy.segmented.seg_embeddings, target, strict=True)
        ]
        losses["seg_distillation_loss"] = mean_over_answers(per_answer, policy.segmented.has_seg)
        return losses

    def _loss_weights(self) -> dict[str, float]:
        return {**super()._loss_weights(), "seg_distillation_loss": self.args.distillation_weight}
