import json
import os
import shutil

import numpy as np
import pytest
import torch

from aurora_trl.data import load_refavs
from aurora_trl.data.media import read_grey_masks, read_masks
from aurora_trl.data.rle import decode_masks
from aurora_trl.evaluation import EvaluationConfig, evaluate_policy, evaluate_predictions, runner
from aurora_trl.evaluation.markdown import render_report
from aurora_trl.evaluation.shards import FOLDER
from aurora_trl.metrics import PROTOCOLS, evaluate_clips


FEW = {"num_resamples": 20}
FILES = ("report.json", "report.md", "predictions.jsonl", "examples.png")


def biased(policy, processor, answer):
    """A policy whose greedy answer is always the same text."""
    wanted = [*processor.tokenizer.encode(answer, add_special_tokens=False), processor.tokenizer.eos_token_id]
    generate = policy.generate

    def say(input_ids, **kwargs):
        generate(input_ids=input_ids, **{**kwargs, "max_new_tokens": 1})
        return torch.cat([input_ids, torch.tensor([wanted] * len(input_ids))], dim=1)

    policy.generate = say
    return policy


@pytest.fixture
def splits(data_root):
    return {name: load_refavs(data_root, name).select(range(4)) for name in ("test_s", "test_u", "test_n")}


@pytest.fixture
def talker(policy, processor):
    return biased(policy, processor, "I see. So the target is red-circle. It is [SEG].")


def test_scores_are_those_of_the_answers(policy, processor, rows):
    rows = rows.select(range(5))
    category = rows[0]["category"]
    model = biased(policy, processor, f"I see. So the target is {category}. It is [SEG].")
    evaluation = evaluate_policy(model, processor, rows, EvaluationConfig(batch_size=2, **FEW))
    metrics = evaluation.metrics
    assert metrics["num_rows"] == 5
    assert metrics["category_accuracy"] == sum(row["category"] == category for row in rows) / 5
    assert metrics["format_rate"] == 1.0
    assert metrics["missing_seg_rate"] == metrics["truncated_rate"] == 0.0
    assert 0 <= metrics["J"] <= 1
    assert [prediction.uid for prediction in evaluation.predictions] == rows["uid"]
    assert [prediction.clip for prediction in evaluation.predictions] == [0, 0, 0, 1, 1]


def test_masks_and_scores_are_of_the_same_answer(talker, processor, splits):
    """From the kept masks alone: J at 0.5 and native size, as the released code has it."""
    rows = splits["test_s"]
    evaluation = evaluate_policy(
        talker, processor, rows, EvaluationConfig(protocol="aurora-released", batch_size=3, **FEW)
    )
    clips = []
    for row, prediction in zip(rows, evaluation.predictions, strict=True):
        masks = decode_masks(prediction.masks)
        clips.append((np.where(masks, 1e4, -1e4), read_grey_masks(row["masks"], len(masks), masks.shape[1:])))
    expected = evaluate_clips(clips, "aurora-released")
    # A logit of 1e-8 is object in the mask, but its float32 sigmoid is 0.5 and not above: a pixel here and there.
    assert evaluation.metrics["J"] == pytest.approx(expected["J"], abs=1e-5)
    assert evaluation.metrics["mean_iou"] == pytest.approx(expected["J"], abs=1e-12)


def test_an_answer_without_seg_predicts_nothing(policy, processor, rows):
    visible = rows.filter(lambda row: row["category"] != "null").select(range(3))
    silent = biased(policy, processor, "I do not know.")
    free = evaluate_policy(silent, processor, visible, EvaluationConfig(**FEW))
    assert free.metrics["missing_seg_rate"] == 1.0
    assert free.metrics["J"] == free.metrics["mean_iou"] == 0.0
    # All pixels reach the first threshold, 0, also in the official code: F of nothing is F of everything.
    nothing = [(np.full((10, 112, 112), -1e4), read_masks(row["masks"], 10, (112, 112))) for row in visible]
    by_hand = np.mean([1.3 * share / (0.3 * share + 1) for share in nothing[0][1].mean((1, 2))])
    assert evaluate_clips(nothing[:1], "avsbench")["F"] == pytest.approx(by_hand)
    expected = evaluate_clips(nothing, "avsbench", resize=True)["F"]
    assert free.report["splits"]["rows"]["protocols"]["avsbench"]["F"]["value"] == pytest.approx(expected, abs=1e-6)
    assert free.report["splits"]["rows"]["protocols"]["aurora-released"]["F"]["value"] == 0.0
    assert free.predictions[0].masks is None
    forced = evaluate_policy(silent, processor, visible, EvaluationConfig(force_seg=True, **FEW))
    assert forced.metrics["missing_seg_rate"] == 0.0
    assert forced.protocol_name == "refavs-official+forced-seg"
    assert set(forced.report["splits"]["rows"]["protocols"]) == {f"{name}+forced-seg" for name in PROTOCOLS}


def test_one_report_has_every_split_protocol_and_group(talker, processor, splits, tmp_path):
    evaluation = evaluate_policy(
        talker, processor, splits, EvaluationConfig(**FEW), folder=tmp_path, new_categories={"blue-square"}
    )
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == evaluation.report
    assert set(report["splits"]) == set(splits)
    for part in report["splits"].values():
        assert set(part["protocols"]) == set(PROTOCOLS)
        assert sum(group["num_rows"] for group in part["kinds"].values()) == part["num_rows"]
        assert sum(group["num_rows"] for group in part["categories"].values()) == part["num_rows"]
        assert part["metrics"]["J"]["low"] <= part["metrics"]["J"]["value"] <= part["metrics"]["J"]["high"]
    assert report["mix/J"] == pytest.approx((report["test_s/J"] + report["test_u/J"]) / 2)
    assert set(report["mix"]) == set(PROTOCOLS)
    assert "S" in report["splits"]["test_n"]["metrics"]
    text = (tmp_path / "report.md").read_text()
    assert "| AURORA | 63.2 | 72.8 | 68.0 |" in text
    assert "| this run | " in text


def test_evaluation_is_deterministic_and_leaves_the_mode_alone(policy, processor, rows):
    policy.train()
    config = EvaluationConfig(max_new_tokens=6, batch_size=3, **FEW)
    first = evaluate_policy(policy, processor, rows.select(range(4)), config)
    second = evaluate_policy(policy, processor, rows.select(range(4)), config)
    assert policy.training
    assert first.report == second.report
    assert first.predictions == second.predictions


class Killed(BaseException):
    """As a signal: nothing catches it."""


def test_a_killed_run_goes_on_and_gives_the_same_files(talker, processor, splits, tmp_path, monkeypatch):
    config = EvaluationConfig(batch_size=2, **FEW)
    evaluate_policy(talker, processor, splits, config, folder=tmp_path / "whole")
    answered = []
    generate = runner.generate_and_segment

    def dies_after(number):
        def wrapped(*args, **kwargs):
            if len(answered) == number:
                raise Killed
            answered.append(number)
            return generate(*args, **kwargs)

        return wrapped

    for number in (2, 5):
        monkeypatch.setattr(runner, "generate_and_segment", dies_after(number))
        with pytest.raises(Killed):
            evaluate_policy(talker, processor, splits, config, folder=tmp_path / "killed")
    shard = tmp_path / "killed" / FOLDER / "shard-0.jsonl"
    shard.write_bytes(shard.read_bytes()[:-40])  # as a kill in the middle of a line
    monkeypatch.setattr(runner, "generate_and_segment", dies_after(7))
    evaluate_policy(talker, processor, splits, config, folder=tmp_path / "killed")
    assert len(answered) == 7, "six batches, one of them twice"
    for name in FILES:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_an_unfinished_run_of_another_policy_is_not_continued(
    talker, processor, splits, data_root, tmp_path, monkeypatch
):
    rows = splits["test_s"]
    monkeypatch.setattr(runner, "write_examples", lambda *args: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        evaluate_policy(talker, processor, rows, EvaluationConfig(**FEW), folder=tmp_path)
    monkeypatch.undo()
    prompted = load_refavs(data_root, "test_s", system_prompt="Think.").select(range(4))
    with pytest.raises(ValueError, match="another run: rows differ"):
        evaluate_policy(talker, processor, prompted, EvaluationConfig(**FEW), folder=tmp_path)
    with torch.no_grad():
        talker.lm_head.weight[3].add_(0.1)  # one row of a table, as training a token changes it
    with pytest.raises(ValueError, match="another run: batch_size, policy differ"):
        evaluate_policy(talker, processor, rows, EvaluationConfig(batch_size=3, **FEW), folder=tmp_path)
    talker.to(torch.bfloat16)
    with pytest.raises(ValueError, match="another run: policy differ"):
        evaluate_policy(talker, processor, rows, EvaluationConfig(**FEW), folder=tmp_path)
    (tmp_path / FOLDER / "run.json").unlink()  # as a kill while the folder is removed
    evaluate_policy(talker.float(), processor, prompted, EvaluationConfig(**FEW), folder=tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_a_repaired_truth_is_another_run(talker, processor, data_root, tmp_path, monkeypatch):
    root = shutil.copytree(data_root, tmp_path / "data")
    rows = load_refavs(root, "test_s").select(range(3))
    monkeypatch.setattr(runner, "write_examples", lambda *args: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        evaluate_policy(talker, processor, rows, EvaluationConfig(**FEW), folder=tmp_path / "out")
    mask = next(row["masks"][0] for row in rows if row["masks"])
    os.utime(mask, (1, 1))
    with pytest.raises(ValueError, match="another run: files differ"):
        evaluate_policy(talker, processor, rows, EvaluationConfig(**FEW), folder=tmp_path / "out")


def test_a_run_that_finished_nothing_blocks_nothing(talker, processor, splits, tmp_path, monkeypatch):
    rows = splits["test_s"]
    monkeypatch.setattr(runner, "generate_and_segment", lambda *args, **kwargs: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        evaluate_policy(talker, processor, rows, EvaluationConfig(**FEW), folder=tmp_path)
    monkeypatch.undo()
    evaluate_policy(talker, processor, rows, EvaluationConfig(batch_size=2, **FEW), folder=tmp_path)
    assert (tmp_path / "report.json").is_file()


def test_one_clip_has_no_interval(talker, processor, splits):
    evaluation = evaluate_policy(talker, processor, splits["test_s"].select(range(1)), EvaluationConfig(**FEW))
    metrics = evaluation.report["splits"]["rows"]["metrics"]
    assert metrics["J"]["low"] is metrics["J"]["high"] is metrics["category_accuracy"]["low"] is None
    assert "[" not in render_report(evaluation.report).split("\n\n")[2]


def test_bad_requests_are_refused(policy, processor, rows):
    with pytest.raises(ValueError, match="no protocol"):
        evaluate_policy(policy, processor, rows.select(range(1)), EvaluationConfig(protocol="best"))
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate_policy(policy, processor, rows.select([]))
    with pytest.raises(ValueError, match="num_resamples=0"):
        evaluate_policy(policy, processor, rows, EvaluationConfig(num_resamples=0))
    without = rows.select(range(1)).map(lambda row: {"masks": None})
    with pytest.raises(ValueError, match="has no `masks`"):
        evaluate_policy(policy, processor, without, EvaluationConfig(max_new_tokens=1))


def test_a_report_is_made_again_from_its_predictions(talker, processor, splits, tmp_path):
    evaluation = evaluate_policy(talker, processor, splits, EvaluationConfig(**FEW), folder=tmp_path)
    again = evaluate_predictions(tmp_path / "predictions.jsonl", splits, num_resamples=20)
    assert again.metrics == evaluation.metrics
    assert again.report["splits"] == evaluation.report["splits"]
    other = evaluate_predictions(tmp_path / "predictions.jsonl", protocol="avsbench", num_resamples=20)
    assert other.metrics["test_s/J"] == evaluation.report["splits"]["test_s"]["protocols"]["avsbench"]["J"]["value"]
