"""
The data classes that cross modules, and the legend of the shape letters used in every signature.

Knows neither torch nor numpy: importing it costs nothing.

Shape legend:
    b    clips of a batch (GRPO: completions, the group being consecutive)
    t    frames of a clip
    h w  height and width of a mask, a frame or a grid; `h w` of two arguments of one function are equal
    s    positions of a token sequence
    n    media tokens
    d    width of a feature
    *b   any number of leading axes
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ParsedAnswer:
    """
    What `answer.parse` reads from a completion.

    Args:
        text (`str`):
            The completion, unchanged.
        reasoning (`str`):
            The completion without its closing "It is [SEG]." (or "It is {category} [SEG]."); the whole completion,
            stripped, if there is none.
        category (`str` or `None`):
            The class named by the last "the target is …", as written but without article and quotes. `None` if no
            class is named.
        has_seg (`bool`):
            Whether [SEG] occurs anywhere: only then is there a mask.
        is_well_formed (`bool`):
            Whether the final sentence is "It is [SEG]", the condition of the format reward.
    """

    text: str
    reasoning: str
    category: str | None
    has_seg: bool
    is_well_formed: bool
