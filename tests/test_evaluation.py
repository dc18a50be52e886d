import json

import pytest
import torch

from aurora_trl.evaluation import EvaluationConfig, evaluate_policy


def biased(policy, processor, answer):
    """A policy whose greedy answer is always the same text."""
    wanted = [*processor.tokenizer.encode(answer, add_special_tokens=False), processor.tokenizer.eos_token_id]
    generate = policy.generate

    def say(input_ids, **kwargs):
        generate(input_ids=input_ids, **{**kwargs, "max_new_tokens": 1})
        return torch.cat([input_ids, torch.tensor([wanted] * len(input_ids))], dim=1)

    policy.generate = say
    return policy


def test_scores_are_those_of_the_answers(policy, processor, rows, tmp_path):
    rows = rows.select(range(5))
    category = rows[0]["category"]
    model = biased(policy, processor, f"I see. So the target is {category}. It is [SEG].")
    evaluation = evaluate_policy(model, processor, rows, EvaluationConfig(batch_size=2))
    metrics = evaluation.metrics
    assert metrics["num_rows"] == 5
    assert metrics["category_accuracy"] == sum(row["category"] == category for row in rows) / 5
    assert metrics["format_rate"] == 1.0
    assert metrics["missing_seg_rate"] == metrics["truncated_rate"] == 0.0
    assert 0 <= metrics["J"] <= 1
    assert [prediction.uid for prediction in evaluation.predictions] == rows["uid"]
    report = evaluation.write(tmp_path)
    assert json.loads(report.read_text()) == metrics
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["uid"] for line in lines] == rows["uid"]


def test_an_answer_without_seg_predicts_nothing(policy, processor, rows):
    visible = rows.filter(lambda row: row["category"] != "null").select(range(3))
    silent = biased(policy, processor, "I do not know.")
    free = evaluate_policy(silent, processor, visible).metrics
    assert free["missing_seg_rate"] == 1.0
    assert free["J"] == free["mean_iou"] == 0.0
    forced = evaluate_policy(silent, processor, visible, EvaluationConfig(force_seg=True)).metrics
    assert forced["forced/missing_seg_rate"] == 0.0
    assert set(forced) == {f"forced/{name}" for name in free}


def test_evaluation_is_deterministic_and_leaves_the_mode_alone(policy, processor, rows):
    policy.train()
    config = EvaluationConfig(max_new_tokens=6, batch_size=3)
    first = evaluate_policy(policy, processor, rows.select(range(4)), config)
    second = evaluate_policy(policy, processor, rows.select(range(4)), config)
    assert policy.training
    assert first == second


def test_unknown_protocol_is_refused(policy, processor, rows):
    with pytest.raises(ValueError, match="no protocol"):
        evaluate_policy(policy, processor, rows.select(range(1)), EvaluationConfig(protocol="best"))
