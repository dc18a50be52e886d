"""A tiny checkpoint under the names of the released ones, made backwards from a policy, and read again."""

import pickle

import pytest
import torch
from safetensors.torch import load_file

from aurora_trl.model.conversion import load_released
from aurora_trl.model.released import FILE_NAME, LORA_ALPHA, policy_state, read_released_checkpoint


RANK = 2


@pytest.fixture
def released(policy, base):
    """PEFT's names, LoRA unmerged on q and v of the language model and of SAM's decoder, an unused classifier."""
    state = load_file(base / "model.safetensors")
    state |= {f"model.visual_model.{name}": value for name, value in policy.sam.state_dict().items()}
    for ours, theirs in (("hidden", 0), ("output", 2)):
        layer = getattr(policy.seg_projector, ours)
        state[f"model.text_hidden_fcs.0.{theirs}.weight"] = layer.weight.detach().clone()
        state[f"model.text_hidden_fcs.0.{theirs}.bias"] = layer.bias.detach().clone()
    state["model.audio_tower.predictor.weight"] = torch.zeros(3, 3)
    generator = torch.Generator().manual_seed(0)
    for name in [name for name in state if name.endswith(("q_proj.weight", "v_proj.weight"))]:
        if "model.layers" not in name and "mask_decoder" not in name:
            continue
        module, (out_width, in_width) = name.removesuffix(".weight"), state[name].shape
        a = torch.randn(RANK, in_width, generator=generator)
        b = torch.randn(out_width, RANK, generator=generator)
        state[f"{module}.lora_A.default.weight"], state[f"{module}.lora_B.default.weight"] = a, b
        # PEFT 0.4 keeps the weight where it was, later versions under base_layer: a mix of both is read.
        home = f"{module}.base_layer.weight" if "layers.0" in module else name
        state[home] = state.pop(name) - LORA_ALPHA / RANK * b @ a
    return {f"base_model.model.{name}": value for name, value in state.items()}


def write(tmp_path, content):
    path = tmp_path / "checkpoint" / "global_step500" / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def test_round_trip(policy, processor, base, released, tmp_path):
    path = write(tmp_path, {"module": released, "ds_version": "0.13.1", "global_steps": 500})
    model, loaded_processor = load_released(path.parents[1], base, policy.config.sam_config)
    assert loaded_processor.seg_token_id == processor.seg_token_id == model.seg_token_id
    expected = policy.state_dict()
    assert set(model.state_dict()) == set(expected)
    for name, value in model.state_dict().items():
        # LoRA taken off and put on again: a few roundings of sums up to 40.
        torch.testing.assert_close(value, expected[name], atol=2e-5, rtol=0, msg=name)
    assert torch.equal(model.sam.pixel_mean, policy.sam.pixel_mean)


def test_lora_by_hand():
    """W + 16 / 2 · B A."""
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    state = policy_state(
        {
            f"{module}.weight": torch.tensor([[1.0, 0.0]]),
            f"{module}.lora_A.default.weight": torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
            f"{module}.lora_B.default.weight": torch.tensor([[0.5, 0.25]]),
        }
    )
    assert list(state) == ["model.language_model.layers.0.self_attn.q_proj.weight"]
    assert state["model.language_model.layers.0.self_attn.q_proj.weight"].tolist() == [[5.0, 10.0]]


def test_what_does_not_fit_is_named(policy, base, released, tmp_path):
    seg = "base_model.model.model.text_hidden_fcs.0.2.bias"
    lora = next(name for name in released if name.endswith("lora_B.default.weight"))
    stranger = {**released, "base_model.model.model.mystery.weight": torch.zeros(1)}
    for state, message in [
        ({k: v for k, v in released.items() if k != seg}, "missing_keys.*seg_projector.output.bias"),
        (stranger, "unexpected_keys.*mystery"),
        ({**released, seg: torch.zeros(3)}, "mismatched_keys.*seg_projector.output.bias"),
        ({k: v for k, v in released.items() if k != lora}, "without its weight or its other half"),
        ({}, "has no model.language_model.embed_tokens"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_released(write(tmp_path, {"module": state}), base, policy.config.sam_config)


class Malicious:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_bad_files_are_named_and_run_no_code(tmp_path, capsys):
    with pytest.raises(ValueError, match="There is no"):
        read_released_checkpoint(tmp_path)
    path = write(tmp_path, {"module": Malicious()})
    with pytest.raises(ValueError, match="would run code"):
        read_released_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(ValueError, match=FILE_NAME):
        read_released_checkpoint(path)
    assert "this code ran" not in capsys.readouterr().out
    whole = write(tmp_path, {"module": {"a": torch.zeros(1000)}}).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=FILE_NAME):
            read_released_checkpoint(path)
    with pytest.raises(ValueError, match="no `module` of tensors"):
        read_released_checkpoint(write(tmp_path, {"optimizer_state_dict": {}}))
