import pytest
import torch

from aurora_trl.backbones.tiny import tiny_videollama2_config
from aurora_trl.backbones.videollama2 import VideoLlama2ForConditionalGeneration


@torch.no_grad()
def test_states_are_as_long_as_the_ids(model, batch):
    outputs = model.model(**batch)
    assert outputs.last_hidden_state.shape == (*batch["input_ids"].shape, 128)
    torch.testing.assert_close(model(**batch).logits, model.lm_head(outputs.last_hidden_state))


@torch.no_grad()
def test_features_go_where_their_placeholders_are(model, batch):
    seen = {}
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model(**batch)
    hook.remove()
    ids = batch["input_ids"]
    video = model.get_video_features(batch["pixel_values_videos"]).pooler_output
    audio = model.get_audio_features(batch["input_features"]).pooler_output
    for feature_row, row in enumerate((0, 2)):
        embeds = seen["inputs_embeds"][row]
        torch.testing.assert_close(embeds[ids[row] == model.config.video_token_id], video[feature_row])
        torch.testing.assert_close(embeds[ids[row] == model.config.audio_token_id], audio[feature_row])
    torch.testing.assert_close(seen["inputs_embeds"][1], model.get_input_embeddings()(ids[1]))


@torch.no_grad()
def test_rows_do_not_depend_on_their_batch(model, processor, prompt, clip, batch):
    """Neither padding nor the other rows' media change a row; a prompt without media is stock Qwen2."""
    alone = processor(text=[prompt], videos=[clip[0]], audio=[clip[1]], return_tensors="pt")
    text = processor(text=["It is"], return_tensors="pt")
    logits = model(**batch).logits
    torch.testing.assert_close(logits[0, -1], model(**alone).logits[0, -1], atol=1e-5, rtol=0)
    states = model.model.language_model(**text).last_hidden_state
    torch.testing.assert_close(logits[1, -1], model.lm_head(states)[0, -1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_both_media_matter(model, batch):
    logits = model(**batch).logits
    for name in ("pixel_values_videos", "input_features"):
        changed = model(**{**batch, name: batch[name].flip(1)}).logits
        assert not torch.allclose(changed[0, -1], logits[0, -1], atol=1e-5)
        torch.testing.assert_close(changed[1], logits[1])


@torch.no_grad()
def test_placeholder_ids_may_lie_outside_the_embedding(batch, config):
    small = tiny_videollama2_config(config.text_config.vocab_size, num_frames=config.num_frames)
    small.text_config.vocab_size -= 2
    model = VideoLlama2ForConditionalGeneration(small)
    assert model.config.video_token_id >= model.get_input_embeddings().num_embeddings
    assert model(**batch).logits.isfinite().all()


@torch.no_grad()
def test_encoded_media_can_be_passed(model, batch):
    encoded = {
        "video": model.get_video_features(batch["pixel_values_videos"]),
        "audio": model.get_audio_features(batch["input_features"]),
    }
    # Features of clips in a list, as a cache keeps them.
    encoded["audio"].pooler_output = list(encoded["audio"].pooler_output)
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(model(**text, mm_encoder_outputs=encoded).logits, model(**batch).logits)


@torch.no_grad()
def test_number_of_features_is_checked(model, batch):
    with pytest.raises(ValueError, match="64 video placeholders but the video inputs give 32 features"):
        model(**{**batch, "pixel_values_videos": batch["pixel_values_videos"][:1]})
    with pytest.raises(ValueError, match="48 audio placeholders but the audio inputs give 0 features"):
        model(**{**batch, "input_features": None})
    with pytest.raises(ValueError, match="0 video placeholders but the video inputs give 64 features"):
        model(input_ids=batch["input_ids"][1:2], pixel_values_videos=batch["pixel_values_videos"])
    with pytest.raises(ValueError, match="either `input_ids` or `inputs_embeds`"):
        model()
    with pytest.raises(ValueError, match="Media need `input_ids`"):
        model(inputs_embeds=torch.zeros(1, 2, 128), input_features=batch["input_features"])


@pytest.mark.parametrize("num_return_sequences", [1, 3])
def test_generate_is_repeated_forward(model, batch, num_return_sequences):
    generated = model.generate(
        **batch,
        max_new_tokens=4,
        do_sample=False,
        eos_token_id=None,
        num_return_sequences=num_return_sequences,
        num_beams=num_return_sequences,
    )
    if num_return_sequences > 1:
        assert generated.shape[0] == 3 * num_return_sequences
        return
    ids, mask = batch["input_ids"], batch["attention_mask"]
    for _ in range(4):
        with torch.no_grad():
            logits = model(**{**batch, "input_ids": ids, "attention_mask": mask}).logits
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    assert torch.equal(generated, ids)


def test_sampled_candidates_belong_to_their_prompts(model, batch):
    """Sampling at a temperature near zero is greedy, so candidates of a prompt repeat its greedy answer."""
    settings = {"max_new_tokens": 4, "eos_token_id": None}
    greedy = model.generate(**batch, **settings, do_sample=False)
    sampled = model.generate(**batch, **settings, do_sample=True, temperature=1e-5, top_k=0, num_return_sequences=2)
    assert torch.equal(sampled, greedy.repeat_interleave(2, dim=0))


def test_loss(model, batch):
    labels = batch["input_ids"].masked_fill(batch["input_ids"] >= model.config.video_token_id, -100)
    labels[:, :5] = -100
    with torch.no_grad():
        outputs = model(**batch, labels=labels)
        log_probs = outputs.logits[:, :-1].log_softmax(-1)
        is_target = labels[:, 1:] != -100
        picked = log_probs.gather(-1, labels[:, 1:].clamp(min=0).unsqueeze(-1)).squeeze(-1)[is_target]
        torch.testing.assert_close(outputs.loss, -picked.mean())
        # The number of targets over all accumulated batches replaces this batch's own.
        scaled = model(**batch, labels=labels, num_items_in_batch=10).loss
        torch.testing.assert_close(scaled, -picked.sum() / 10)


@torch.no_grad()
def test_logits_to_keep(model, batch):
    logits = model(**batch).logits
    torch.testing.assert_close(model(**batch, logits_to_keep=3).logits, logits[:, -3:])
    torch.testing.assert_close(model(**batch, logits_to_keep=torch.tensor([1, 5])).logits, logits[:, [1, 5]])


def _gradients(model, batch):
    model.zero_grad()
    model(**batch, labels=batch["input_ids"].clamp(max=model.config.video_token_id - 1)).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_gradient_checkpointing_equals_plain(config, batch):
    torch.manual_seed(1)
    model = VideoLlama2ForConditionalGeneration(config).train()
    plain = _gradients(model, batch)
    model.activation_checkpointing_enable()
    assert model.is_activation_checkpointing
    checkpointed = _gradients(model, batch)
    assert plain.keys() == checkpointed.keys()
    assert all(torch.allclose(plain[name], checkpointed[name], atol=1e-7) for name in plain)
    # Everything learns, apart from what follows the vision tower's chosen layer.
    unused = {name for name, _ in model.named_parameters()} - plain.keys()
    assert all("vision_tower.encoder.layers.2." in name or "post_layernorm" in name for name in unused)


@torch.no_grad()
def test_recording_vision_states_first_changes_nothing(model, batch):
    """transformers' hooks of a nested tower once doubled after the tower was called alone."""
    before = model.get_video_features(batch["pixel_values_videos"]).pooler_output
    model.model.vision_tower(batch["pixel_values_videos"].flatten(0, 1), output_hidden_states=True)
    outputs = model(**batch, output_hidden_states=True)
    assert len(outputs.hidden_states) == 3
    assert torch.equal(model.get_video_features(batch["pixel_values_videos"]).pooler_output, before)


@torch.no_grad()
def test_bfloat16_stays_close(model, batch):
    logits = model(**batch).logits
    half = VideoLlama2ForConditionalGeneration(model.config).to(torch.bfloat16).eval()
    half.load_state_dict(model.state_dict())
    actual = half(**batch).logits
    assert actual.dtype == torch.bfloat16
    assert (actual[0].float() - logits[0])[-1].abs().max() < 0.05 * logits[0, -1].abs().max()
