"""
What an expression asks with: sound, place, or looks. Ref-AVS has no such column, so it is read off the words.

Pure text. The rules name what the official table's expressions say (8.1 words each); they are a convention of this
package's reports, not of the data set.
"""

import re


SOUND = re.compile(
    r"\b(sounds?|sounding|silent|silence|loud(er|est|ly)?|soft(er|est)?|quiet(er|est)?|volumes?|audio|noises?|rhythms?"
    r"|pitch|tone|voices?|speak(s|ing)?|talk(s|ing)?|sing(s|ing)?|laugh(s|ing)?|cry(ing)?|roar(s|ing)?|bark(s|ing)?"
    r"|heard|audible|continuous(ly)?)\b",
    re.IGNORECASE,
)
PLACE = re.compile(
    r"\b(left(most)?|right(most)?|behind|in front of|near(er|est)?|next to|beside|between|above|below|under"
    r"|far(thest)?|centre|center|middle|front|back(most)?|top|bottom)\b",
    re.IGNORECASE,
)
# Of several that match, the first counts: what is compared before how it is compared.
_SOUND_KINDS = (
    (
        "audio/silent",
        re.compile(r"\b(silent|silence|no sound|not? mak\w+ (any |a )?sound|(did|does)n.t make)\b", re.I),
    ),
    ("audio/longer", re.compile(r"\b(longe(r|st)|long sound)\b", re.IGNORECASE)),
    ("audio/shorter", re.compile(r"\b(shorte(r|st)|short sound)\b", re.IGNORECASE)),
    ("audio/rhythm", re.compile(r"\brhythms?\b", re.IGNORECASE)),
    ("audio/louder", re.compile(r"\b(loud(er|est)?|higher volume)\b", re.IGNORECASE)),
    ("audio/softer", re.compile(r"\b(soft(er|est)?|quiet(er|est)?|lower volume|low(er|est) sound)\b", re.IGNORECASE)),
    ("audio/first", re.compile(r"\bfirst\b", re.IGNORECASE)),
    ("audio/last", re.compile(r"\blast\b", re.IGNORECASE)),
)
KINDS = (*(kind for kind, _ in _SOUND_KINDS), "audio/other", "spatial+audio", "spatial", "direct")


def kind_of(expression: str) -> str:
    """
    The kind of an expression.

    Args:
        expression (`str`): The reference.

    Returns:
        `str`: one of `KINDS`. "audio/…" compares or names sounds, "spatial" names a place, "spatial+audio" both,
        "direct" neither: it names looks, actions or the class.

    Example:

    ```python
    >>> kind_of("The first object to make a sound."), kind_of("The sounding object on the left.")
    ('audio/first', 'spatial+audio')
    ```
    """
    has_place = PLACE.search(expression) is not None
    if SOUND.search(expression) is None:
        return "spatial" if has_place else "direct"
    if has_place:
        return "spatial+audio"
    return next((kind for kind, pattern in _SOUND_KINDS if pattern.search(expression)), "audio/other")
