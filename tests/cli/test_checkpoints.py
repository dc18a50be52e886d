"""convert and merge, on tiny checkpoints in the released layouts."""

import json

import pytest
import torch
from segment_anything import sam_model_registry

from aurora_trl import AuroraModel, AuroraProcessor, AuroraSFTConfig, AuroraSFTTrainer
from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration
from aurora_trl.cli.main import main
from aurora_trl.data.collator import load_clips
from aurora_trl.model.generation import segment_completions


def test_a_backbone_becomes_a_folder_of_its_own(policy, base, tmp_path, capsys):
    assert main(["convert", str(base), str(tmp_path / "ours"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["class"] == "VideoLlama2ForConditionalGeneration"
    assert (tmp_path / "ours" / "processor_config.json").is_file()
    loaded = VideoLlama2ForConditionalGeneration.from_pretrained(tmp_path / "ours")
    assert torch.equal(loaded.lm_head.weight, policy.lm_head.weight)


@pytest.mark.slow
def test_a_backbone_and_a_sam_become_a_policy(policy, base, tmp_path, capsys):
    torch.save(sam_model_registry["vit_b"](checkpoint=None).state_dict(), tmp_path / "sam.pth")
    options = ["--sam", str(tmp_path / "sam.pth"), "--sam-variant", "vit_b", "--sam-image-size", "64"]
    assert main(["convert", str(base), str(tmp_path / "ours"), *options]) == 0
    model = AuroraModel.from_pretrained(tmp_path / "ours")
    assert model.config.sam_config == {"variant": "vit_b", "image_size": 64}
    assert AuroraProcessor.from_pretrained(tmp_path / "ours").sam_image_size == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "nowhere", "OUT"], "is no checkpoint"),
        (["convert", "checkpoint.pt", "OUT"], "give --base FOLDER"),
        (["convert", "checkpoint.pt", "OUT", "--base", "BASE"], "There is no checkpoint.pt"),
        (["convert", "BASE", "BASE"], "holds a checkpoint already"),
        (["convert", "BASE", "OUT", "--sam", "nowhere.pth"], "nowhere.pth"),
        (["merge", "BASE", "OUT"], "is no LoRA folder"),
    ],
)
def test_mistakes_are_named(arguments, message, base, tmp_path, capsys):
    names = {"BASE": str(base), "OUT": str(tmp_path / "out")}
    assert main([names.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.fixture
def lora(policy, processor, rows, training_kwargs, tmp_path):
    """A LoRA folder, trained for three steps, and the live model it came from."""
    from peft import LoraConfig

    policy.save_pretrained(tmp_path / "policy")
    processor.save_pretrained(tmp_path / "policy")
    base = AuroraModel.from_pretrained(tmp_path / "policy")
    config = LoraConfig(
        r=4,
        target_modules=r".*language_model\.layers\.\d+\.self_attn\.(q_proj|v_proj)",
        modules_to_save=["lm_head", "seg_projector"],
    )
    trainer = AuroraSFTTrainer(
        base,
        args=AuroraSFTConfig(**training_kwargs),
        train_dataset=rows,
        processing_class=processor,
        peft_config=config,
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "lora"))
    return tmp_path / "lora", trainer.model


def test_a_merged_folder_answers_as_the_two_together(lora, processor, rows, tmp_path):
    folder, live = lora
    assert main(["merge", str(folder), str(tmp_path / "merged")]) == 0
    merged = AuroraModel.from_pretrained(tmp_path / "merged").eval()
    live = live.eval()
    clips = load_clips(rows.to_list()[:2], processor)
    ids = [processor.tokenizer.encode(row["completion"][0]["content"]) for row in rows.to_list()[:2]]
    expected, _ = segment_completions(live.get_base_model(), clips, ids, processor.tokenizer.pad_token_id)
    actual, _ = segment_completions(merged, clips, ids, processor.tokenizer.pad_token_id)
    for mine, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_a_lora_for_another_base_is_refused(lora, policy, processor, tmp_path, capsys):
    folder, _ = lora
    other = tmp_path / "other"
    policy.config.backbone_config.text_config.save_pretrained(other)
    settings = json.loads((folder / "adapter_config.json").read_text())
    smaller = AuroraModel.from_pretrained(tmp_path / "policy")
    smaller.resize_token_embeddings(len(processor.tokenizer) + 64)
    smaller.save_pretrained(other)
    processor.save_pretrained(other)
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(other)}))
    assert main(["merge", str(folder), str(tmp_path / "merged")]) == 2
    assert "does not fit its base" in capsys.readouterr().err
