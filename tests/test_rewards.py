import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aurora_trl.answer import render_cot
from aurora_trl.rewards import class_reward, format_reward, iou_reward


PIECES = ["It is [SEG].", "[SEG]", "the target is ", ".", "\n", "“", "dog", "It ", " "]
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=10).map("".join))
completions = st.one_of(
    texts,
    texts.map(lambda text: [{"role": "assistant", "content": text}]),
    texts.map(lambda text: [{"role": "assistant", "content": [{"type": "text", "text": text}]}]),
)


def test_format_reward():
    answers = ["The dog barks. It is [SEG].", "It is [SEG]", "It is the dog.", "[SEG]", ""]
    assert format_reward(completions=answers) == [1.0, 1.0, 0.0, 0.0, 0.0]
    messages = [[{"role": "assistant", "content": answer}] for answer in answers]
    assert format_reward(completions=messages, prompts=[""] * 5, trainer_state=None) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_class_reward():
    answers = [
        "So the target is dog. It is [SEG].",
        "So the target is the Hair-Dryer. It is [SEG].",
        "So the target is puppy. It is [SEG].",
        "So the target is null. It is [SEG].",
        "The target is cat. Wait. So the target is dog.",
        "The target is dog. Wait. So the target is cat.",
        "dog [SEG]",
    ]
    truth = ["dog", "hair dryer", "dog", "null", "dog", "dog", "dog"]
    assert class_reward(completions=answers, category=truth, prompts=None) == [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]


def test_iou_reward_by_hand():
    truth = np.zeros((2, 1, 4), dtype=bool)
    truth[0, 0, :2] = True  # frame 2 has no object
    pred = np.zeros_like(truth)
    pred[0, 0, 1:3] = True  # 1 common of 3
    pred[1, 0, 0] = True  # 3 of 4 pixels background
    both = {"completions": ["a", "b"], "pred_masks": [pred, None], "gt_masks": [truth, truth]}
    assert iou_reward(**both) == pytest.approx([(1 / 3 + 3 / 4) / 2, 0.0])
    strict = functools.partial(iou_reward, empty_frame="strict")
    assert strict(**both, completion_ids=[[1], [2]]) == pytest.approx([(1 / 3 + 0) / 2, 0.0])
    assert strict(completions=["a"], pred_masks=[truth], gt_masks=[truth]) == [1.0]


def test_iou_reward_takes_tensors_and_lists():
    truth = [[[1, 0], [0, 0]]]
    for convert in (torch.tensor, np.array, list):
        assert iou_reward(completions=["a"], pred_masks=[convert(truth)], gt_masks=[convert(truth)]) == [1.0]


def test_lists_of_different_length_are_refused():
    mask = np.ones((1, 2, 2), dtype=bool)
    with pytest.raises(ValueError, match="one element per completion"):
        class_reward(completions=["a", "b"], category=["dog"])
    with pytest.raises(ValueError, match="one element per completion"):
        iou_reward(completions=["a", "b"], pred_masks=[mask], gt_masks=[mask, mask])
    with pytest.raises(ValueError, match="one element per completion"):
        iou_reward(completions=["a", "b"], pred_masks=[mask, None], gt_masks=[mask])


def test_a_missing_truth_is_refused():
    mask = np.ones((1, 2, 2), dtype=bool)
    with pytest.raises(ValueError, match="name of a class"):
        class_reward(completions=["a"], category=[None])
    with pytest.raises(ValueError, match="no `gt_masks`"):
        iou_reward(completions=["a"], pred_masks=[mask], gt_masks=[None])
    with pytest.raises(ValueError, match="Threshold"):
        iou_reward(completions=["a"], pred_masks=[np.full((1, 2, 2), math.nan)], gt_masks=[mask])
    with pytest.raises(ValueError, match="must both be"):
        iou_reward(completions=["a"], pred_masks=[mask], gt_masks=[np.ones((1, 2, 3), dtype=bool)])


@given(st.lists(completions, max_size=4))
def test_text_rewards_are_0_or_1_for_any_completion(answers):
    for rewards in (
        format_reward(completions=answers),
        class_reward(completions=answers, category=["dog"] * len(answers)),
    ):
        assert len(rewards) == len(answers)
        assert set(rewards) <= {0.0, 1.0}
        assert all(type(reward) is float for reward in rewards)


@given(st.lists(texts, max_size=3))
def test_messages_and_text_are_paid_alike(answers):
    messages = [[{"role": "assistant", "content": answer}] for answer in answers]
    assert format_reward(completions=messages) == format_reward(completions=answers)


@given(st.sampled_from(["dog", "hair-dryer", "emergency-car", "null"]), st.text("abc .,", max_size=20))
def test_a_rendered_answer_is_paid_in_full(category, reasoning):
    answer = render_cot(reasoning, category)
    assert format_reward(completions=[answer]) == class_reward(completions=[answer], category=[category]) == [1.0]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from(["background", "strict"]),
)
def test_the_iou_reward_is_within_0_and_1(seed, pred_share, truth_share, rule):
    rng = np.random.default_rng(seed)
    pred, truth = rng.random((2, 3, 3)) < pred_share, rng.random((2, 3, 3)) < truth_share
    (reward,) = iou_reward(completions=["a"], pred_masks=[pred], gt_masks=[truth], empty_frame=rule)
    assert 0.0 <= reward <= 1.0
    assert iou_reward(completions=["a"], pred_masks=[truth], gt_masks=[truth], empty_frame=rule) == [1.0]
    if truth.any(axis=(1, 2)).all():
        assert iou_reward(completions=["a"], pred_masks=[~truth], gt_masks=[truth], empty_frame=rule) == [0.0]
