"""The recipes as a user runs them, on a few generated clips."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from trl import ModelConfig

from aurora_trl.trainers.script import AuroraScriptArguments, load_policy, parse_recipe


ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--max_steps", "2", "--per_device_train_batch_size", "4", "--logging_steps", "1"]


def load_recipe(name):
    sys.path.insert(0, str(ROOT / "recipes"))
    try:
        spec = importlib.util.spec_from_file_location(f"recipe_{name}", ROOT / "recipes" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def data(data_root):
    return ["--data_root", str(data_root)]


@pytest.fixture
def folder(policy, processor, tmp_path):
    policy.save_pretrained(tmp_path / "policy")
    processor.save_pretrained(tmp_path / "policy")
    return str(tmp_path / "policy")


RECIPES = sorted((ROOT / "recipes").glob("*/*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=[f"{path.parent.name}/{path.name}" for path in RECIPES])
def test_every_yaml_is_read_by_its_recipe(path):
    from aurora_trl import AuroraDistillConfig, AuroraGRPOConfig, AuroraSFTConfig
    from aurora_trl.evaluation import EvaluationConfig
    from aurora_trl.trainers.language_pretraining import LanguagePretrainingConfig
    from aurora_trl.trainers.sam_pretraining import SamPretrainingConfig
    from aurora_trl.trainers.tiny import TinyPolicyConfig
    from aurora_trl.trainers.tower_pretraining import TowerPretrainingConfig

    configs = {
        "pretrain": (SamPretrainingConfig, TowerPretrainingConfig, LanguagePretrainingConfig, TinyPolicyConfig),
        "distill": (AuroraDistillConfig, ModelConfig),
        "grpo": (AuroraGRPOConfig, ModelConfig),
        "evaluate": (EvaluationConfig, ModelConfig),
        "reflect": (EvaluationConfig, ModelConfig),
    }.get(path.stem.split("_")[0], (AuroraSFTConfig, ModelConfig))
    trains_on_gpu = "tiny" not in str(path) and hasattr(configs[0], "per_device_train_batch_size")
    parsed = parse_recipe((AuroraScriptArguments, *configs), path, ["--use_cpu"] if trains_on_gpu else [])
    for name, value in yaml.safe_load(path.read_text()).items():
        holders = [part for part in parsed if hasattr(part, name)]
        assert holders, name
        if name == "lora_target_modules":
            value = value[0]  # one entry is a pattern
        if name == "report_to":
            value = []  # "none"
        assert any(getattr(part, name) == value for part in holders), name


def test_the_embedded_policy_has_a_path_for_peft():
    """By its word alone, PEFT would look it up on the hub whenever a LoRA folder is saved."""
    model, _ = load_policy(ModelConfig(model_name_or_path="tiny", dtype="float32"), AuroraScriptArguments())
    assert (Path(model.name_or_path) / "config.json").is_file()


def test_an_unknown_key_is_an_error(tmp_path):
    config = tmp_path / "typo.yaml"
    config.write_text("learning_rat: 1.0\n")
    with pytest.raises(ValueError, match="learning_rat"):
        parse_recipe((AuroraScriptArguments, ModelConfig), config, [])


def test_sft_then_distill_then_grpo_then_evaluate(folder, data, tmp_path):
    stages = {name: str(tmp_path / name) for name in ("teacher", "stage1", "grpo", "report")}
    load_recipe("sft").main([*data, *QUICK, "--model_name_or_path", folder, "--output_dir", stages["teacher"]])
    teacher = stages["teacher"]
    load_recipe("distill").main(
        [*data, *QUICK, "--model_name_or_path", teacher, "--teacher", teacher, "--output_dir", stages["stage1"]]
    )
    load_recipe("grpo").main(
        [*data, *QUICK, "--model_name_or_path", stages["stage1"], "--output_dir", stages["grpo"]]
        + ["--num_generations", "2", "--max_completion_length", "6", "--rollout_picture_steps", "1"]
    )
    assert list(Path(stages["grpo"], "rollouts").glob("*.png"))
    evaluation = load_recipe("evaluate").main(
        [*data, "--model_name_or_path", stages["grpo"], "--max_eval_rows", "3", "--output_dir", stages["report"]]
        + ["--num_resamples", "5", "--eval_split", "test_s,test_u"]
    )
    report = json.loads(Path(stages["report"], "report.json").read_text())
    assert report == evaluation.report
    assert report["test_s/num_rows"] == report["test_u/num_rows"] == 3
    # Of the embedded data set's unseen categories: told by its table, not by a list.
    assert report["splits"]["test_u"]["new_categories"]["num_rows"] == 3


def test_a_users_mistake_is_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "recipes" / "evaluate.py"), "--data_root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("evaluate.py: ")
    assert "Traceback" not in done.stderr


def test_config_with_an_equals_sign(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("max_eval_rows: 3\n")
    arguments, _ = parse_recipe((AuroraScriptArguments, ModelConfig), ROOT / "none.yaml", [f"--config={config}"])
    assert arguments.max_eval_rows == 3


def test_the_demo_replaces_nothing_but_a_demo(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="something else than an earlier demo"):
        load_recipe("demo").main(["--output_dir", str(tmp_path)])
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("recipe", ["sft", "distill", "grpo", "evaluate"])
def test_bfloat16_weights(recipe, folder, data, tmp_path):
    """As the recipes for VideoLLaMA2 load them; SAM's position grid is float32 whatever the weights are."""
    options = [*data, "--model_name_or_path", folder, "--dtype", "bfloat16", "--output_dir", str(tmp_path / "out")]
    if recipe == "distill":
        options += ["--teacher", folder]
    if recipe == "grpo":
        options += ["--num_generations", "2", "--max_completion_length", "6"]
    options += ["--max_eval_rows", "2", "--num_resamples", "2"] if recipe == "evaluate" else QUICK
    result = load_recipe(recipe).main(options)
    assert result is not None


def test_transfer_to_avsbench_s4(folder, avsbench_root, tmp_path):
    """Section 4.4: GRPO on clips of which one frame has a truth, then its own protocol on clips of which all have."""
    data = ["--data_root", str(avsbench_root / "Single-source"), "--model_name_or_path", folder]
    trainer = load_recipe("grpo").main(
        [*data, *QUICK, "--num_generations", "4", "--max_completion_length", "6", "--reward_weights", "1", "1", "0"]
        + ["--output_dir", str(tmp_path / "s4"), "--rollout_picture_steps", "1"]
    )
    assert trainer.state.global_step == 2
    assert all("rewards/iou_reward/mean" in entry for entry in trainer.state.log_history[:-1])
    evaluation = load_recipe("evaluate").main(
        [*data, "--eval_split", "test", "--protocol", "avsbench", "--num_resamples", "5"]
        + ["--output_dir", str(tmp_path / "report")]
    )
    assert {"J", "F"} <= set(evaluation.metrics)
    assert "S" not in evaluation.metrics


def test_a_lora_folder_loads_merged(folder, data, tmp_path, policy):
    lora = ["--use_peft", "--lora_r", "4", "--lora_target_modules", r".*self_attn\.(q_proj|v_proj)"]
    lora += ["--lora_modules_to_save", "lm_head", "seg_projector", "--learning_rate", "1e-2"]
    trainer = load_recipe("sft").main(
        [*data, *QUICK, *lora, "--model_name_or_path", folder, "--output_dir", str(tmp_path / "lora")]
    )
    model, processor = load_policy(
        ModelConfig(model_name_or_path=str(tmp_path / "lora"), dtype="float32"), AuroraScriptArguments()
    )
    assert processor.seg_token_id == model.seg_token_id
    assert model.name_or_path == str(tmp_path / "lora"), "what a report calls it"
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == folder, "where PEFT finds the base without asking the hub"
    merged = trainer.model.merge_and_unload()
    changed = 0
    for (name, loaded), expected, before in zip(
        model.named_parameters(), merged.parameters(), policy.parameters(), strict=True
    ):
        torch.testing.assert_close(loaded, expected, atol=1e-6, rtol=1e-5, msg=name)
        changed += not torch.equal(loaded, before)
    assert changed >= 4


@pytest.mark.slow
def test_a_bare_backbone_is_joined_to_a_sam_checkpoint(policy, processor, data, tmp_path):
    """A released folder: weights in the original layout, a tokenizer, no processor; SAM as a .pth file."""
    from segment_anything import sam_model_registry

    from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration

    backbone = VideoLlama2ForConditionalGeneration(policy.config.backbone_config)
    backbone.save_pretrained(tmp_path / "backbone")
    processor.tokenizer.save_pretrained(tmp_path / "backbone")
    torch.save(sam_model_registry["vit_b"](checkpoint=None).state_dict(), tmp_path / "sam.pth")
    bare = ["--model_name_or_path", str(tmp_path / "backbone"), "--dtype", "float32"]
    with pytest.raises(ValueError, match="sam_checkpoint"):
        load_recipe("evaluate").main([*data, *bare, "--output_dir", str(tmp_path)])
    bare += ["--sam_checkpoint", str(tmp_path / "sam.pth"), "--sam_variant", "vit_b", "--sam_image_size", "64"]
    trainer = load_recipe("sft").main([*data, *QUICK, *bare, "--output_dir", str(tmp_path / "joined")])
    assert trainer.model.sam.image_encoder.img_size == 64
    loaded, _ = load_policy(
        ModelConfig(model_name_or_path=str(tmp_path / "joined"), dtype="float32"), AuroraScriptArguments()
    )
    assert loaded.config.sam_config == {"variant": "vit_b", "image_size": 64}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eval_split", "test_x"], "test_x"),
        (["--data_root", "nowhere"], "nowhere"),
        (["--model_name_or_path", "nowhere"], "no checkpoint"),
    ],
)
def test_mistakes_are_named(folder, data, tmp_path, arguments, message):
    base = [*data, "--model_name_or_path", folder, "--output_dir", str(tmp_path)]
    with pytest.raises(ValueError, match=message):
        load_recipe("evaluate").main([*base, *arguments])
