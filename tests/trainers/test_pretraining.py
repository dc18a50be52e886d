import numpy as np
import pytest
import torch

from aurora_trl.data.scene import Scene, SceneObject, Sound
from aurora_trl.data.synthetic import read_scenes
from aurora_trl.reasoning.oracle import imagine
from aurora_trl.trainers.language_pretraining import LanguagePretrainingConfig, pretrain_language
from aurora_trl.trainers.sam_pretraining import PromptedFrames, SamPretrainingConfig, pretrain_sam
from aurora_trl.trainers.tower_pretraining import (
    HEARD_WORDS,
    SEEN_WORDS,
    TowerPretrainingConfig,
    patch_words,
    pretrain_towers,
    sound_words,
)


SCENE = Scene(
    (
        SceneObject("red", "circle", "left", 0.1, (0.125, 0.125), (0.125, 0.875), Sound(5.0, 10.0, -34.0)),
        SceneObject("blue", "square", "right", 0.1, (0.875, 0.875), (0.875, 0.875), Sound(0.0, 2.5, -20.0)),
    )
)


def words_of(row, vocabulary):
    return {vocabulary[i] for i in row.nonzero().flatten().tolist()}


def test_patches_say_what_covers_their_center():
    """A 4×4 grid: centers at 0.125, 0.375, 0.625, 0.875. The red circle moves from the first row to the last."""
    start, end = patch_words(SCENE, 0.0, 4), patch_words(SCENE, 1.0, 4)
    assert words_of(start[0], SEEN_WORDS) == {" red", "-circle", " left"}
    assert words_of(start[15], SEEN_WORDS) == {" blue", "-square", " right"}
    assert start.sum() == 6
    assert words_of(end[12], SEEN_WORDS) == {" red", "-circle", " left"}
    assert end[0].sum() == 0


def test_time_steps_say_what_is_heard():
    """Four steps of 2.5 s, centers at 1.25, 3.75, 6.25, 8.75 s."""
    truth = sound_words(SCENE, 4)
    assert words_of(truth[0], HEARD_WORDS) == {" blue", "-square", " loud", " first"}
    assert truth[1].sum() == 0
    assert words_of(truth[2], HEARD_WORDS) == {" red", "-circle", " soft", " last"}
    assert torch.equal(truth[2], truth[3])


def test_absent_categories_are_asked_for_with_an_empty_truth(rows, data_root):
    data = PromptedFrames(rows, 112, read_scenes(data_root))
    _, masks, categories = data.sample(40, np.random.default_rng(0), absent_share=1.0)
    assert (~masks.flatten(1).any(dim=1)).float().mean() > 0.5
    _, masks, _ = data.sample(40, np.random.default_rng(0), absent_share=0.0)
    assert masks.flatten(1).any(dim=1).all()
    assert set(categories) <= set(data.categories)


def test_stage_0_trains_each_part_alone(policy, processor, rows, data_root):
    scenes, before = read_scenes(data_root), {k: v.clone() for k, v in policy.state_dict().items()}

    def moved():
        return {name for name, value in policy.state_dict().items() if not torch.equal(value, before[name])}

    pretrain_towers(policy, processor.backbone_processor, rows, scenes, TowerPretrainingConfig(2, 2))
    towers = ("model.vision_tower", "model.mm_projector", "model.audio_tower", "model.mm_projector_a")
    words = ("model.language_model.embed_tokens", "lm_head")
    assert {part for part in (*towers, *words) if any(name.startswith(part) for name in moved())} == {*towers, *words}
    assert not any(name.startswith(("sam", "seg_projector", "model.language_model.layers")) for name in moved())
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    pretrain_sam(policy, processor.tokenizer, rows, scenes, SamPretrainingConfig(3, 4))
    assert all(name.startswith(("sam", "seg_projector")) for name in moved())
    assert any(name.startswith("sam.image_encoder") for name in moved())
    assert not any(p.requires_grad for p in policy.sam.image_encoder.parameters())
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    pretrain_language(policy, processor, imagine(3, seed=0), LanguagePretrainingConfig(3, 2, 4))
    assert all(name.startswith(("model.language_model", "lm_head")) for name in moved())


@pytest.mark.slow
def test_stage_0_makes_the_mask_follow_the_named_category(policy, processor, rows, data_root):
    """On its own training clips: the mask of the named category, not of another one of the clip."""
    from aurora_trl.data.collator import load_clips
    from aurora_trl.model.generation import segment_completions

    scenes = read_scenes(data_root)
    pretrain_towers(policy, processor.backbone_processor, rows, scenes, TowerPretrainingConfig(60))
    pretrain_sam(policy, processor.tokenizer, rows, scenes, SamPretrainingConfig(300))
    pretrain_language(policy, processor, imagine(200, seed=0), LanguagePretrainingConfig(language_steps=200))
    visible = [row for row in rows.to_list() if row["masks"]][:8]
    clips = load_clips(visible, processor)
    answers = [processor.tokenizer.encode(f"It is {row['category']} [SEG].") for row in visible]
    logits, _ = segment_completions(policy.eval(), clips, answers, processor.tokenizer.pad_token_id)
    inside = [(mask > 0)[clip.gt_masks].float().mean() for mask, clip in zip(logits, clips, strict=True)]
    covered = [(mask > 0).float().mean() for mask in logits]
    assert torch.stack(inside).mean() > 0.5
    assert torch.stack(covered).mean() < 0.15
