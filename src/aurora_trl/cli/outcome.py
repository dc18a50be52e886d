"""What a verb hands back to the command line."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """
    Attributes:
        result (`dict`): JSON values, for `--json` and, line by line, for people.
        text (`str`, *optional*): what people read instead.
        exit_code (`int`): 0 only on success.
        is_shown (`bool`): False in all processes but the first.
    """

    result: dict[str, Any]
    text: str | None = None
    exit_code: int = 0
    is_shown: bool = True
