"""Settings of every test run: offline, two threads at most, reproducible property tests."""

import os


os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["WANDB_MODE"] = "disabled"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy  # noqa: E402
import csv  # noqa: E402
from pathlib import Path  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import soundfile  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from aurora_trl.data import attach_completions, load_refavs, synthetic  # noqa: E402


torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

settings.register_profile("aurora", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("aurora")

SHARED_DIR = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of golden values and samples beside the checkout; tests that need it are skipped without it."""
    if not SHARED_DIR.is_dir():
        pytest.skip("no folder with golden values beside the checkout")
    return SHARED_DIR


# Smaller than the embedded default: every test trains it for a few steps.
SMALL = {
    "vocab_size": 384,
    "backbone": {
        "num_frames": 2,
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    },
    "sam": {"depth": 1, "global_attn_indexes": (0,)},
}


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return synthetic.write_dataset(tmp_path_factory.mktemp("data") / "synthetic", num_clips=6, seed=3)


@pytest.fixture(scope="session")
def rows(data_root):
    """Training rows with chains of thought."""
    from aurora_trl.reasoning.oracle import OracleAnnotator

    annotator = OracleAnnotator(data_root)
    plain = load_refavs(data_root, "train")
    return attach_completions(plain, {row["uid"]: annotator.reason(row) for row in plain})


@pytest.fixture(scope="session")
def _built(rows, data_root):
    from aurora_trl.trainers.tiny import TinyPolicyConfig, build_tiny_policy

    return build_tiny_policy(rows, data_root, TinyPolicyConfig(**SMALL))


@pytest.fixture
def policy(_built):
    """A fresh random policy; dropout-free by construction."""
    return copy.deepcopy(_built[0])


@pytest.fixture
def processor(_built):
    return copy.deepcopy(_built[1])


@pytest.fixture
def base(policy, processor, tmp_path):
    """The policy's backbone as VideoLLaMA2's folder: weights in the original layout, a tokenizer, no processor."""
    from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration

    backbone = VideoLlama2ForConditionalGeneration(policy.config.backbone_config)
    backbone.model, backbone.lm_head = policy.model, policy.lm_head
    backbone.save_pretrained(tmp_path / "base")
    processor.tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def training_kwargs(tmp_path):
    """Three quiet steps on CPU in float32."""
    return {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "disable_tqdm": True,
        "seed": 7,
    }


def write_avsbench_clip(folder, name, masks, palette=False):
    """Five frames, five masks (or one) and a sound, all of them small."""
    rng = np.random.default_rng(0)
    for path, count in ((folder["frames"], 5), (folder["masks"], masks)):
        path.mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            picture = rng.integers(0, 255, (28, 28, 3), dtype=np.uint8)
            if path == folder["masks"]:
                picture = np.zeros((28, 28, 3) if palette else (28, 28), np.uint8)
                picture[:14] = (0, 0, 128) if palette else 45
            suffix = ".mp4" if palette and path == folder["frames"] else ""
            cv2.imwrite(str(path / f"{name}{suffix}_{number}.png"), picture)
    folder["sound"].parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder["sound"], 0.1 * rng.standard_normal(5 * 8000), 8000)


@pytest.fixture(scope="session")
def avsbench_root(tmp_path_factory):
    """AVSBench in small: a train and a test clip of S4 and of MS3."""
    root = tmp_path_factory.mktemp("avsbench")
    for subset, home, header in (
        ("s4", "Single-source", ["video_id", "start", "category", "split"]),
        ("ms3", "Multi-sources", ["video_id", "split"]),
    ):
        data = root / home / f"{subset}_data"
        rows = []
        for split in ("train", "test"):
            name = f"{subset}_{split}_clip"
            clip = f"{split}/dog_barking/{name}" if subset == "s4" else name
            masks = f"{split}/dog_barking/{name}" if subset == "s4" else f"{split}/{name}"
            folder = {
                "frames": data / "visual_frames" / clip,
                "masks": data / "gt_masks" / masks,
                "sound": data / "audio_wav" / f"{masks if subset == 's4' else f'{split}/{name}'}.wav",
            }
            write_avsbench_clip(folder, name, 1 if (subset, split) == ("s4", "train") else 5, palette=subset == "ms3")
            rows.append([name, "0", "dog_barking", split] if subset == "s4" else [name, split])
        with (root / home / f"{subset}_meta_data.csv").open("w", newline="") as table:
            csv.writer(table).writerows([header, *rows])
    return root
