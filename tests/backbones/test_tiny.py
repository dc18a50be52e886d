import pytest

from aurora_trl.backbones.tiny import build_tiny_processor, tiny_videollama2_config, train_tiny_tokenizer
from aurora_trl.constants import AUDIO_TOKEN, SEG_TOKEN, VIDEO_TOKEN


def test_added_tokens_come_last_and_are_not_special(tokenizer, config):
    ids = tokenizer.convert_tokens_to_ids([SEG_TOKEN, VIDEO_TOKEN, AUDIO_TOKEN])
    assert ids == [len(tokenizer) - 3, config.video_token_id, config.audio_token_id]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(tokenizer(f"It is {SEG_TOKEN}.").input_ids, skip_special_tokens=True) == "It is [SEG]."


def test_tokenizer_pads_and_ends_with_different_tokens(tokenizer, config):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (
        config.text_config.pad_token_id,
        config.text_config.eos_token_id,
    )
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize("word", ["The", " reference", " striped", "user", "assistant", "<|im_start|>"])
def test_frequent_words_are_single_tokens(tokenizer, word):
    assert len(tokenizer(word).input_ids) == 1


@pytest.mark.parametrize("text", ["Ünïcode, 漢字 and 🎻", "tabs\tand\nlines", "never seen: zyx-987"])
def test_tokenizer_is_lossless(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_tokenizer_saves_and_loads(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.special_tokens_map == tokenizer.special_tokens_map
    text = "<|im_start|>user\nThe striped disc <video>[SEG]<|im_end|>"
    assert loaded(text).input_ids == tokenizer(text).input_ids


def test_vocabulary_limit(tokenizer):
    assert len(train_tiny_tokenizer(["abc abd " * 50], vocab_size=264)) == 264
    with pytest.raises(ValueError, match="vocab_size=100.*at least 262"):
        train_tiny_tokenizer(["abc"], vocab_size=100)


def test_overrides_are_merged():
    config = tiny_videollama2_config(300, stc_depth=2, audio_config={"num_mel_bins": 64})
    assert (config.stc_depth, config.audio_config.num_mel_bins, config.audio_config.hidden_size) == (2, 64, 64)


def test_tokenizer_of_another_configuration_is_refused(tokenizer):
    with pytest.raises(ValueError, match="video_token_id"):
        build_tiny_processor(tokenizer, tiny_videollama2_config(len(tokenizer) + 1))


def test_default_size(tokenizer):
    processor = build_tiny_processor(tokenizer, tiny_videollama2_config(len(tokenizer)))
    assert (processor.num_video_tokens, processor.num_audio_tokens) == (80, 124)
