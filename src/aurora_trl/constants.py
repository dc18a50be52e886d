"""
Names and numbers that more than one module shares, each with its source.

Knows nothing: no imports, no files, no tensors. Values that only one backbone, trainer or data set needs live there.
"""

SEG_TOKEN = "[SEG]"
"""The token whose state prompts SAM (paper 3.1, after LISA). Added to the vocabulary, not as a special token."""

IGNORE_INDEX = -100
"""Label of positions without a cross-entropy target (PyTorch's default `ignore_index`)."""

VIDEO_TOKEN = "<video>"
AUDIO_TOKEN = "<audio>"
"""Text of the two media placeholders (VideoLLaMA2's names); the processor repeats them, one per feature."""

SAMPLING_RATE = 16_000
"""Hz. BEATs, hence VideoLLaMA2's audio tower, hears 16 kHz mono."""

NUM_FRAMES = 10
"""Frames per clip: Ref-AVS clips last 10 s and have one frame per second."""

NULL_CATEGORY = "null"
"""Category of Ref-AVS rows whose expression refers to nothing: the truth is empty on every frame."""

USER_PROMPT = "The reference is: {expression} Please segment the corresponding object in the images."
"""The user turn of the released checkpoints, without the media placeholders."""

MASK_THRESHOLD = 0.5
"""Probability above which a pixel belongs to the object: the released reward, AVSBench's J and Ref-AVS's S."""

FULL_GREY = 255
"""The grey value of an object in a mask file that has no other values."""

REFAVS_JACCARD_THRESHOLD = 0.4
"""The threshold of J in the official Ref-AVS evaluation."""

F_BETA_SQUARED = 0.3
"""β² of the F-measure in AVSBench and Ref-AVS. It is not the boundary F of DAVIS."""

F_NUM_THRESHOLDS = 255
F_LAST_THRESHOLD = 1 - 1e-10
"""The F-measure takes the best of 255 thresholds, evenly spaced from 0 to 1 − 1e-10 (AVSBench, Ref-AVS)."""

DICE_EPS = 1e-3
"""Smoothing of the soft Dice loss: the released training code's value."""

TINY = "tiny"
"""The word for the embedded policy where a checkpoint is asked for, and for the generated data set where a root is."""
