import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, SiglipImageProcessor

from aurora_trl.backbones.videollama2 import VideoLlama2Config, VideoLlama2Processor
from aurora_trl.constants import AUDIO_TOKEN, SEG_TOKEN, VIDEO_TOKEN


def test_placeholders_are_expanded(processor, config, clip):
    inputs = processor(text=["a <video> b <audio>[SEG]"], videos=[clip[0]], audio=[clip[1]])
    ids = inputs["input_ids"][0]
    assert ids.count(config.video_token_id) == processor.num_video_tokens == 32
    assert ids.count(config.audio_token_id) == processor.num_audio_tokens == 24
    kept = [i for i in ids if i not in (config.video_token_id, config.audio_token_id)]
    assert kept == processor.tokenizer("a  b [SEG]").input_ids or kept[
        -1
    ] == processor.tokenizer.convert_tokens_to_ids(SEG_TOKEN)
    first = ids.index(config.video_token_id)
    assert ids[first : first + 32] == [config.video_token_id] * 32


def test_shapes_and_padding(batch, config):
    assert batch["pixel_values_videos"].shape == (2, 4, 3, 112, 112)
    assert batch["input_features"].shape == (2, 198, 32)
    assert batch["attention_mask"][1].sum() == 2
    assert (batch["input_ids"][1, :-2] == config.text_config.pad_token_id).all()
    assert batch["attention_mask"][2].all()


def test_text_alone(processor):
    inputs = processor(text="It is", return_tensors="pt")
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert inputs["input_ids"].shape == (1, 2)


def test_pixels_are_normalised_to_plus_minus_one(processor):
    frames = np.zeros((4, 20, 30, 3), np.uint8)
    frames[1] = 255
    pixels = processor(text="<video>", videos=[frames], return_tensors="pt")["pixel_values_videos"]
    assert torch.equal(pixels[0, :, 0, 0, 0], torch.tensor([-1.0, 1.0, -1.0, -1.0]))


@pytest.mark.parametrize(
    ("length", "expected"), [(4, [0, 1, 2, 3]), (7, [0, 2, 4, 6]), (2, [0, 0, 1, 1]), (1, [0] * 4)]
)
def test_frames_are_spread_over_the_clip(processor, length, expected):
    frames = np.arange(length, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3) * 20
    pixels = processor(text="<video>", videos=[frames], return_tensors="pt")["pixel_values_videos"]
    grey = (pixels[0, :, 0, 0, 0] + 1) * 127.5
    assert (grey / 20).round().int().tolist() == expected


def test_pictures_are_frames_too(processor, clip):
    frames = clip[0]
    pictures = [Image.fromarray(frame) for frame in frames]
    a = processor(text="<video>", videos=[frames], return_tensors="pt")["pixel_values_videos"]
    for form in (pictures, list(frames)):
        assert torch.equal(processor(text="<video>", videos=[form], return_tensors="pt")["pixel_values_videos"], a)


@pytest.mark.parametrize(
    ("text", "media", "message"),
    [
        ("<video>", {}, "1 <video> placeholders but 0"),
        ("no placeholder", {"videos": 1}, "0 <video> placeholders but 1"),
        ("<video><video>", {"videos": 1}, "2 <video> placeholders but 1"),
        ("<audio>", {"audio": 2}, "1 <audio> placeholders but 2"),
    ],
)
def test_placeholders_and_media_must_match(processor, clip, text, media, message):
    inputs = {name: [clip[0] if name == "videos" else clip[1]] * count for name, count in media.items()}
    with pytest.raises(ValueError, match=message):
        processor(text=text, **inputs)


def test_bad_media(processor, clip):
    with pytest.raises(ValueError, match="no frames"):
        processor(text="<video>", videos=[clip[0][:0]])
    with pytest.raises(ValueError, match="silent"):
        processor(text="<audio>", audio=[np.zeros(100)])
    assert "input_features" in processor(text="<audio>", audio=[np.zeros(100)], allow_silent=True)
    with pytest.raises(ValueError, match="single images"):
        processor(text="a", images=[clip[0][0]])


class TestChatTemplate:
    def test_media_blocks(self, prompt):
        assert prompt == (
            "<|im_start|>user\n<video><audio>\nThe reference is: the striped disc.<|im_end|>\n<|im_start|>assistant\n"
        )

    def test_generation_prompt_is_a_prefix_of_the_whole(self, processor):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
        answer = {"role": "assistant", "content": [{"type": "text", "text": "It is [SEG]."}]}
        asked = processor.apply_chat_template(messages, add_generation_prompt=True)
        assert processor.apply_chat_template([*messages, answer]) == asked + "It is [SEG].<|im_end|>\n"
        assert asked.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n")

    def test_the_tokenizer_has_it_too(self, processor):
        messages = [{"role": "user", "content": "Who?"}]
        assert processor.tokenizer.apply_chat_template(messages, tokenize=False) == processor.apply_chat_template(
            messages
        )

    def test_media_in_messages(self, processor, clip, prompt):
        blocks = [
            {"type": "video", "video": clip[0]},
            {"type": "audio", "audio": clip[1]},
            {"type": "text", "text": "The reference is: the striped disc."},
        ]
        inputs = processor.apply_chat_template(
            [[{"role": "user", "content": blocks}]] * 2,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        by_hand = processor(text=[prompt] * 2, videos=[clip[0]] * 2, audio=[clip[1]] * 2, return_tensors="pt")
        assert inputs.keys() == by_hand.keys()
        assert all(torch.equal(inputs[name], by_hand[name]) for name in by_hand)

    def test_unknown_blocks_are_named(self, processor):
        with pytest.raises(Exception, match="type image"):
            processor.apply_chat_template([{"role": "user", "content": [{"type": "image"}]}])


def test_round_trip(processor, batch, prompt, clip, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = VideoLlama2Processor.from_pretrained(tmp_path)
    assert loaded.chat_template == processor.chat_template
    frames, waveform = clip
    again = loaded(
        text=[prompt, "It is", prompt + "So the target"],
        videos=[frames, frames[::-1].copy()],
        audio=[waveform, waveform[::-1].copy()],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    )
    assert all(torch.equal(again[name], batch[name]) for name in batch)


def test_auto_processor_finds_it(processor, config, tmp_path):
    processor.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), VideoLlama2Processor)


def test_resizing_does_not_depend_on_the_backend(processor, clip):
    other = VideoLlama2Processor(
        SiglipImageProcessor(size={"height": 112, "width": 112}),
        processor.feature_extractor,
        processor.tokenizer,
        num_frames=processor.num_frames,
    )
    a, b = (p(text="<video>", videos=[clip[0]], return_tensors="pt") for p in (processor, other))
    assert torch.equal(a["pixel_values_videos"], b["pixel_values_videos"])


def test_released_sizes(tokenizer):
    config = VideoLlama2Config(
        video_token_id=tokenizer.convert_tokens_to_ids(VIDEO_TOKEN),
        audio_token_id=tokenizer.convert_tokens_to_ids(AUDIO_TOKEN),
    )
    processor = VideoLlama2Processor.from_config(config, tokenizer)
    assert (processor.num_video_tokens, processor.num_audio_tokens) == (845, 1496)
