import copy

import pytest

from aurora_trl.data import attach_completions, load_refavs, synthetic
from aurora_trl.reasoning.oracle import OracleAnnotator
from aurora_trl.trainers.tiny import TinyPolicyConfig, build_tiny_policy


# Smaller than the embedded default: every test trains it for a few steps.
SMALL = TinyPolicyConfig(
    vocab_size=384,
    backbone={
        "num_frames": 2,
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    },
    sam={"depth": 1, "global_attn_indexes": (0,)},
)


@pytest.fixture(scope="session")
def data_root(tmp_path_factory):
    return synthetic.write_dataset(tmp_path_factory.mktemp("data") / "synthetic", num_clips=6, seed=3)


@pytest.fixture(scope="session")
def rows(data_root):
    """Training rows with chains of thought."""
    annotator = OracleAnnotator(data_root)
    plain = load_refavs(data_root, "train")
    return attach_completions(plain, {row["uid"]: annotator.reason(row) for row in plain})


@pytest.fixture(scope="session")
def _built(rows, data_root):
    return build_tiny_policy(rows, data_root, SMALL)


@pytest.fixture
def policy(_built):
    """A fresh random policy; dropout-free by construction."""
    return copy.deepcopy(_built[0])


@pytest.fixture
def processor(_built):
    return copy.deepcopy(_built[1])


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
