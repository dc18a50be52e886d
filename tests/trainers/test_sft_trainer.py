import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from aurora_trl import AuroraDistillConfig, AuroraDistillTrainer, AuroraSFTConfig, AuroraSFTTrainer
from aurora_trl.data import attach_completions
from aurora_trl.data.collator import AudioVisualCollator
from aurora_trl.losses import mask_bce_loss, mask_dice_loss
from aurora_trl.model.generation import encode_clips, read_seg_embeddings
from aurora_trl.model.processing import batch_media


def make_trainer(policy, processor, rows, training_kwargs, **overrides):
    return AuroraSFTTrainer(
        policy,
        args=AuroraSFTConfig(**{**training_kwargs, **overrides}),
        train_dataset=rows,
        processing_class=processor,
    )


def test_loss_is_cross_entropy_plus_bce_plus_dice(policy, processor, rows, training_kwargs):
    trainer = make_trainer(policy, processor, rows, training_kwargs, bce_weight=2.0, dice_weight=0.5)
    batch = AudioVisualCollator(processor)(rows.select(range(3)).to_list())
    clips = batch["clips"]
    with torch.no_grad():
        loss = trainer.compute_loss(policy, dict(batch))
        outputs = policy(batch["input_ids"], batch["attention_mask"], labels=batch["labels"], **batch_media(clips))
        completions = [row[row != -100].tolist() for row in batch["labels"]]
        encode_clips(policy, clips)
        embeddings, has_seg = read_seg_embeddings(policy, clips, completions, processor.tokenizer.pad_token_id)
        logits = policy.decode_masks(
            embeddings,
            [clip.image_embeddings for clip in clips],
            [clip.input_size for clip in clips],
            [clip.original_size for clip in clips],
        )
        truth = [clip.gt_masks for clip in clips]
        expected = outputs.loss
        expected += 2.0 * torch.stack([mask_bce_loss(*pair) for pair in zip(logits, truth, strict=True)]).mean()
        expected += 0.5 * torch.stack([mask_dice_loss(*pair) for pair in zip(logits, truth, strict=True)]).mean()
    assert has_seg.all()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)


def test_labels_cover_the_answer_and_its_end_only(processor, rows):
    row = rows[0]
    batch = AudioVisualCollator(processor)([row])
    target = processor.tokenizer.decode(batch["labels"][0][batch["labels"][0] != -100])
    assert target == row["completion"][0]["content"] + processor.tokenizer.eos_token
    shared = (batch["labels"] == -100).sum().item()
    prompt = processor.tokenizer.decode(batch["input_ids"][0, :shared])
    assert row["expression"] in prompt
    assert prompt.endswith("assistant\n")


def test_only_a_seg_in_the_answer_counts(policy, processor, rows, training_kwargs):
    asked_for = rows.select(range(2)).map(
        lambda row: {
            "prompt": [{"role": "user", "content": "Say [SEG] [SEG]."}],
            "completion": [{"role": "assistant", "content": "No."}],
        }
    )
    trainer = make_trainer(policy, processor, asked_for, training_kwargs, max_steps=1)
    trainer.train()
    log = trainer.state.log_history[0]
    assert log["seg/missing_rate"] == 1.0
    assert log["mask_bce_loss"] == 0.0
    assert log["grad_norm"] > 0


def test_frozen_parts_stay_and_losses_fall(policy, processor, rows, training_kwargs):
    policy.set_frozen("sam.mask_decoder", "model.audio_tower")
    before = copy.deepcopy(policy.state_dict())
    trainer = make_trainer(policy, processor, rows.select(range(4)), training_kwargs, max_steps=8)
    trainer.train()
    moved = {name for name, parameter in policy.named_parameters() if not torch.equal(parameter, before[name])}
    assert not moved & {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}
    for part in ("model.language_model", "model.vision_tower", "model.mm_projector_a", "lm_head", "seg_projector"):
        assert any(name.startswith(part) for name in moved), part
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert losses[-1] < 0.9 * losses[0]


def test_gradient_accumulation_equals_the_large_batch(policy, processor, rows, training_kwargs):
    whole, parts = copy.deepcopy(policy), copy.deepcopy(policy)
    four = rows.select(range(4))
    settings = {
        **training_kwargs,
        "max_steps": 1,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
    }
    make_trainer(whole, processor, four, settings).train()
    settings |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    make_trainer(parts, processor, four, settings).train()
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        # Float32 sums in another order; a wrong scale of any loss would be off by its gradient, 1e-3 and more.
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-4, msg=name)


def test_mask_decoder_has_a_learning_rate_of_its_own(policy, processor, rows, training_kwargs):
    trainer = make_trainer(policy, processor, rows, training_kwargs, mask_decoder_lr_scale=0.1)
    optimizer = trainer.create_optimizer()
    decoder = {id(p) for p in policy.sam.mask_decoder.parameters()}
    seen = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen += 1
            assert group["lr"] == pytest.approx(1e-4 if id(parameter) in decoder else 1e-3)
    assert seen == sum(p.requires_grad for p in policy.parameters())


def test_evaluation_and_resume(policy, processor, rows, training_kwargs):
    settings = {**training_kwargs, "max_steps": 4, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps"}
    settings |= {"eval_steps": 2, "per_device_eval_batch_size": 2}

    def run(model, **kwargs):
        args = AuroraSFTConfig(**settings)
        trainer = AuroraSFTTrainer(
            model, args=args, train_dataset=rows, eval_dataset=rows.select(range(3)), processing_class=processor
        )
        trainer.train(**kwargs)
        return trainer

    straight = run(copy.deepcopy(policy))
    evaluated = [log for log in straight.state.log_history if "eval_loss" in log]
    assert all(np.isfinite(log["eval_mask_dice_loss"]) for log in evaluated)
    resumed = run(copy.deepcopy(policy), resume_from_checkpoint=f"{settings['output_dir']}/checkpoint-2")
    for (name, a), b in zip(straight.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_distillation_pulls_the_student_to_the_teacher(policy, processor, rows, training_kwargs):
    teacher, student = copy.deepcopy(policy), copy.deepcopy(policy)
    with torch.no_grad():
        for parameter in student.seg_projector.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.05)
    before = copy.deepcopy(teacher.state_dict())
    settings = {**training_kwargs, "max_steps": 12, "distillation_weight": 100.0, "learning_rate": 3e-3}
    trainer = AuroraDistillTrainer(
        student,
        teacher_model=teacher,
        args=AuroraDistillConfig(**settings),
        train_dataset=rows.select(range(4)),
        processing_class=processor,
    )
    trainer.train()
    losses = [log["seg_distillation_loss"] for log in trainer.state.log_history if "seg_distillation_loss" in log]
    assert losses[-1] < 0.5 * losses[0]
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_teacher_reads_its_own_short_answer(policy, processor, rows, training_kwargs):
    trainer = AuroraDistillTrainer(
        copy.deepcopy(policy),
        teacher_model=policy,
        args=AuroraDistillConfig(**training_kwargs, teacher_names_category=True),
        train_dataset=rows,
        processing_class=processor,
    )
    batch = trainer.data_collator(rows.select(range(2)).to_list())
    answers = [processor.tokenizer.decode(ids) for ids in batch["teacher_completion_ids"]]
    categories = rows["category"][:2]
    assert answers == [f"It is {category} [SEG].{processor.tokenizer.eos_token}" for category in categories]


def corrupt(rows, **columns):
    first = {**rows[0], **columns}
    return [first, *rows.to_list()[1:]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"audio": None}, "no `audio`"),
        ({"audio": "missing.wav"}, "does not exist"),
        ({"expression": " "}, "empty expression"),
        ({"masks": ["only-one.png"]}, "only-one.png"),
        ({"frames": ["none.jpg"] * 10}, "none.jpg"),
    ],
)
def test_bad_rows_stop_before_the_first_step(policy, processor, rows, training_kwargs, columns, message):
    bad = Dataset.from_list(corrupt(rows, **columns))
    with pytest.raises(ValueError, match=message):
        make_trainer(policy, processor, bad, training_kwargs)


def test_masks_that_do_not_fit_are_refused(policy, processor, rows, training_kwargs):
    visible = next(row for row in rows if row["masks"])
    bad = Dataset.from_list([{**visible, "masks": visible["masks"][:9]}])
    with pytest.raises(ValueError, match="9 masks"):
        make_trainer(policy, processor, bad, training_kwargs)


def test_truncated_frame_is_named(policy, processor, rows, training_kwargs, tmp_path):
    frame = tmp_path / "half.jpg"
    whole = Path(rows[0]["frames"][0]).read_bytes()
    frame.write_bytes(whole[: len(whole) // 20])
    bad = Dataset.from_list(corrupt(rows, frames=[str(frame), *rows[0]["frames"][1:]]))
    with pytest.raises(ValueError, match=r"half\.jpg"):
        make_trainer(policy, processor, bad, training_kwargs)


def test_rows_without_answers_are_refused(policy, processor, rows, training_kwargs):
    with pytest.raises(ValueError, match="completion"):
        make_trainer(policy, processor, rows.remove_columns("completion"), training_kwargs)


def test_answers_are_joined_by_uid(rows):
    texts = {row["uid"]: f"text of {row['uid']}" for row in reversed(rows.to_list())}
    joined = attach_completions(rows.remove_columns("completion"), texts)
    assert all(row["completion"][0]["content"] == f"text of {row['uid']}" for row in joined)
