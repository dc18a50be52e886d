import numpy as np
import pytest
import torch

from aurora_trl import AuroraModel, AuroraProcessor
from aurora_trl.data.collator import load_clips
from aurora_trl.model.generation import generate_and_segment, segment_completions
from aurora_trl.model.modeling import seg_positions


def test_save_and_load_is_bit_equal(policy, processor, tmp_path):
    policy.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AuroraModel.from_pretrained(tmp_path)
    before, after = policy.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    assert torch.equal(loaded.sam.pixel_mean, policy.sam.pixel_mean)
    assert {n for n, p in loaded.named_parameters() if p.requires_grad} == {
        n for n, p in policy.named_parameters() if p.requires_grad
    }
    again = AuroraProcessor.from_pretrained(tmp_path)
    assert again.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert again.seg_token_id == processor.seg_token_id == loaded.seg_token_id


def test_loaded_policy_segments_like_the_saved_one(policy, processor, rows, tmp_path):
    policy.save_pretrained(tmp_path)
    loaded = AuroraModel.from_pretrained(tmp_path)
    clips = load_clips(rows.select(range(2)).to_list(), processor)
    completions = [processor.tokenizer.encode("It is [SEG].")] * 2
    pad_id = processor.tokenizer.pad_token_id
    ours, _ = segment_completions(policy.eval(), clips, completions, pad_id)
    theirs, _ = segment_completions(loaded.eval(), clips, completions, pad_id)
    for a, b in zip(ours, theirs, strict=True):
        # Equal weights; memory alignment alone may change the order of float32 sums.
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", ["missing", "unexpected", "reshaped"])
def test_a_changed_folder_is_refused_by_name(policy, tmp_path, change):
    state_dict = policy.state_dict()
    name = "seg_projector.output.bias"
    if change == "missing":
        del state_dict[name]
    elif change == "unexpected":
        state_dict["seg_projector.extra.bias"] = state_dict[name].clone()
    else:
        state_dict[name] = torch.zeros(3)
    policy.save_pretrained(tmp_path, state_dict=state_dict)
    with pytest.raises((ValueError, RuntimeError), match=r"seg_projector\.(output|extra)\.bias"):
        AuroraModel.from_pretrained(tmp_path)


def test_segment_answers_one_clip(policy, processor, rows):
    frames = np.zeros((3, 48, 80, 3), dtype=np.uint8)
    waveform = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    seg_bias = {"sequence_bias": [[[processor.seg_token_id], 50.0]]}
    result = policy.eval().segment(frames, waveform, "The object.", processor, max_new_tokens=3, **seg_bias)
    assert result.has_seg
    assert result.is_truncated
    assert result.masks.shape == result.mask_logits.shape == (3, 48, 80)
    assert "[SEG]" in result.text
    never = {"sequence_bias": [[[processor.seg_token_id], -1e4]]}
    result = policy.segment(frames, waveform, "The object.", processor, max_new_tokens=3, **never)
    assert not result.has_seg
    assert not result.masks.any()


def test_a_clip_without_sound_is_refused_unless_allowed(policy, processor):
    frames = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="no sound"):
        policy.segment(frames, None, "The object.", processor)
    result = policy.eval().segment(frames, None, "The object.", processor, allow_silent=True, max_new_tokens=2)
    assert result.masks.shape == (2, 32, 32)


@pytest.mark.parametrize("expression", ["", "   "])
def test_an_empty_expression_is_refused(policy, processor, expression):
    with pytest.raises(ValueError, match="expression"):
        policy.segment(np.zeros((2, 32, 32, 3), dtype=np.uint8), np.ones(16), expression, processor)


def test_forced_seg_adds_the_closing_sentence_only_where_it_is_missing(policy, processor, rows):
    clips = load_clips(rows.select(range(2)).to_list(), processor)
    never = {"sequence_bias": [[[processor.seg_token_id], -1e4]]}
    free = generate_and_segment(policy.eval(), processor, clips, max_new_tokens=4, **never)
    forced = generate_and_segment(policy, processor, clips, max_new_tokens=4, force_seg=True, **never)
    for without, with_seg in zip(free, forced, strict=True):
        assert not without.has_seg
        assert with_seg.has_seg
        assert with_seg.text.endswith("It is [SEG].")


def test_the_last_seg_of_the_completion_counts():
    seg = 9
    input_ids = torch.tensor([[seg, 1, seg, 2, seg, 3], [seg, 1, 2, 3, 4, 5]])
    is_completion = torch.tensor([[0, 0, 1, 1, 1, 1]] * 2, dtype=torch.bool)
    positions, has_seg = seg_positions(input_ids, is_completion, seg, "predicting")
    assert positions.tolist() == [3, 0]
    assert has_seg.tolist() == [True, False]
    positions, _ = seg_positions(input_ids, is_completion, seg, "token")
    assert positions[0] == 4


def test_placeholders_are_never_generated(policy, processor, rows):
    clips = load_clips(rows.select(range(1)).to_list(), processor)
    bias = {"sequence_bias": [[[id_], 100.0] for id_ in policy.config.media_token_ids]}
    result = generate_and_segment(policy.eval(), processor, clips, max_new_tokens=4, **bias)[0]
    assert "<video>" not in result.text
    assert "<audio>" not in result.text


def test_unknown_module_to_freeze_is_refused(policy):
    with pytest.raises(ValueError, match=r"sam\.decoder"):
        policy.set_frozen("sam.decoder")
