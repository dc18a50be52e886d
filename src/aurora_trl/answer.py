"""
The answer grammar, both ways: render prompts and targets, parse completions.

An answer is free reasoning, a sentence "… the target is {category}." and the closing sentence "It is [SEG]."
(paper 3.1). This module is pure text. It knows no tokenizer, no chat template, no masks and no rewards. Parsing
accepts any string, never raises on one, and takes time linear in its length.
"""

import re

from aurora_trl.constants import SEG_TOKEN, USER_PROMPT
from aurora_trl.types import ParsedAnswer


CLOSING_SENTENCE = f"It is {SEG_TOKEN}."

CORRECTION_TRIGGERS: tuple[str, ...] = (
    "Wait, let me re-evaluate.",
    "Hold on, I should check this again.",
    "Wait, that does not fit the audio and the images. Let me think again.",
    "Let me reconsider this.",
    "Actually, I need to correct my reasoning.",
    "On second thought, something is wrong here.",
)
"""Phrases between a wrong and a corrected path, Eq. (3). The first is the paper's example, the only one it gives."""

_OPENING_TO_CLOSING_QUOTE = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»"}
_MARKS = "*" + "".join({*_OPENING_TO_CLOSING_QUOTE, *_OPENING_TO_CLOSING_QUOTE.values()})  # *: Markdown's emphasis
_SENTENCE_ENDS = (".", "!", "?", "…", "。")
_CATEGORY_ENDS = ".,;!?\n"

# No pattern has two neighbours that match the same character: on no input is matching slower than linear.
_TARGET = re.compile(r"\bthe\s+target\s+is\b[^\S\n]*:?", re.IGNORECASE)
_CATEGORY_END = re.compile(f"[{re.escape(_CATEGORY_ENDS)}]")
_ARTICLE = re.compile(r"(?:the|an|a)\s+", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_-]+")


def render_prompt(expression: str, system_prompt: str | None = None) -> list[dict[str, str]]:
    """
    The conversation that asks for one object. Media blocks are added later, by the processor.

    Args:
        expression (`str`):
            The reference, for example "The object that sounds first.".
        system_prompt (`str`, *optional*):
            Text of a leading system turn.

    Returns:
        `list[dict[str, str]]`: messages with `role` and plain string `content`.

    Raises:
        ValueError: if `expression` is blank.
    """
    if not expression.strip():
        raise ValueError(
            f"`expression` is {expression!r}, but a prompt needs a reference to an object. Drop the row or fill it in."
        )
    system_turns = [] if system_prompt is None else [{"role": "system", "content": system_prompt}]
    return [*system_turns, {"role": "user", "content": USER_PROMPT.format(expression=expression.strip())}]


def render_answer(category: str | None = None) -> str:
    """
    The answer without reasoning, target of the teacher: "It is [SEG].", or "It is {category} [SEG]." as the released
    teacher was trained.
    """
    return CLOSING_SENTENCE if category is None else f"It is {_checked_category(category)} {SEG_TOKEN}."


def render_cot(reasoning: str, category: str) -> str:
    """
    The chain-of-thought answer of stage 1: "{reasoning} So the target is {category}. It is [SEG].".

    Raises:
        ValueError: if `parse` could not read `category` back.
    """
    return _join(reasoning, f"So the target is {_checked_category(category)}.", CLOSING_SENTENCE)


def render_reflective(wrong: str, trigger: str, correct: str) -> str:
    r"""
    The reflective path of stage 2, Eq. (3): \(y_{reflective} = y_{wrong} \oplus x_{trigger} \oplus y_{correct}\).

    Args:
        wrong (`str`):
            The flawed answer; it loses its closing "It is [SEG].", so that the path asks for one mask only.
        trigger (`str`):
            A phrase, usually out of `CORRECTION_TRIGGERS`.
        correct (`str`):
            The corrected answer, closing sentence included.

    Raises:
        ValueError: if `correct` does not end in "It is [SEG].".
    """
    if not parse(correct).is_well_formed:
        raise ValueError(
            f"The corrected answer must end in {CLOSING_SENTENCE!r}, but ends in {correct[-60:]!r}. "
            "Build it with `render_cot(reasoning, category)`."
        )
    return _join(parse(wrong).reasoning, trigger, correct)


def parse(completion: str) -> ParsedAnswer:
    """
    Read a completion. Any string is accepted.

    The category is what follows the *last* "the target is" (in any case, a leading article or colon skipped): the
    quoted text if a quote follows, else up to `.`, `,`, `;`, `!`, `?`, the end of the line or of the text.

    Args:
        completion (`str`):
            The generated text, special tokens stripped.

    Returns:
        `ParsedAnswer`: see there.
    """
    before, closing = _split_closing(completion)
    return ParsedAnswer(
        text=completion,
        reasoning=before.strip(),
        category=_last_category(completion),
        has_seg=SEG_TOKEN in completion,
        is_well_formed=closing == CLOSING_SENTENCE and _ends_a_sentence(before),
    )


def normalize_category(name: str) -> str:
    """
    The form in which two class names are compared: lower case, no leading article, and hyphen, underscore and space
    alike. "The Emergency-Car" and "emergency car" are the same; synonyms are not (paper 3.3, class reward).
    """
    name = _without_article(name.strip(_MARKS + " \t\r\n")).lower()
    return _SEPARATORS.sub(" ", name).strip()


def completion_text(completion: str | list[dict]) -> str:
    """
    The text of a completion as TRL hands it over.

    Args:
        completion (`str` or `list[dict]`):
            A string, or messages. Of messages the last assistant turn counts; its content is a string or a list of
            blocks, of which those of type "text" are joined.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, list) or not all(isinstance(turn, dict) for turn in completion):
        raise ValueError(
            f"A completion is a string or a list of messages, not {type(completion).__name__}: {completion!r:.80}."
        )
    turns = [turn for turn in completion if turn.get("role") == "assistant"]
    content = (turns[-1].get("content") if turns else None) or ""
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content if block.get("type") == "text")


def _split_closing(text: str) -> tuple[str, str | None]:
    """Split off "It is [SEG]" or "It is {category} [SEG]" at the end; white space made single, the full stop added."""
    start = text.rfind("It")
    words = text[start:].split() if start >= 0 else []
    closing = " ".join(words).removesuffix(".").rstrip()
    is_closing = (
        words[:2] == ["It", "is"]
        and closing.endswith(f" {SEG_TOKEN}")
        and not any(end in closing for end in _CATEGORY_ENDS)
    )
    return (text[:start], f"{closing}.") if is_closing else (text, None)


def _last_category(text: str) -> str | None:
    end = None
    for match in _TARGET.finditer(text):
        end = match.end()
    if end is None:
        return None
    rest = _without_article(text[end:].split("\n", 1)[0].strip())
    closing_quote = _OPENING_TO_CLOSING_QUOTE.get(rest[:1])
    quoted_to = rest.find(closing_quote, 1) if closing_quote else -1
    name = rest[1:quoted_to] if quoted_to > 0 else _CATEGORY_END.split(rest, maxsplit=1)[0]
    return _without_article(name.strip(_MARKS + _CATEGORY_ENDS + " \t\r")) or None


def _without_article(name: str) -> str:
    article = _ARTICLE.match(name)
    return name[article.end() :] if article else name


def _ends_a_sentence(before: str) -> bool:
    body = before.rstrip()
    return not body or "\n" in before[len(body) :] or body.rstrip(_MARKS + ")]").endswith(_SENTENCE_ENDS)


def _checked_category(category: str) -> str:
    name = category.strip()
    if normalize_category(_last_category(f"the target is {name}.") or "") != normalize_category(name) or not name:
        raise ValueError(
            f"The category {category!r} can't be read back from an answer: it must be a non-empty name without "
            f"{_CATEGORY_ENDS.strip()!r} or line breaks. Rename it."
        )
    return name


def _join(*parts: str) -> str:
    return " ".join(part.strip() for part in parts if part.strip())
