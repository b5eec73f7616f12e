"""What posted texts must look like, and the words for one that does not. Web-free.

A regular expression says it to programs, in the contract; people are told in words.
"""

from collections.abc import Mapping
from types import MappingProxyType

from app.registry.schemas import MODEL_PATTERN, NAME_PATTERN, STORED_NAME_PATTERN

ANY_MODEL = f"^$|{MODEL_PATTERN}"
"""A model's name, or nothing: any."""
NO_NUL = r"^[^\x00]*$"
"""Text that a database can look for."""
PICTURES = r"^\d{1,7}(,\d{1,7}){0,7}$"
"""Positions of pictures, as an address has them: up to eight."""
SHA256 = r"^[0-9a-f]{64}$"
HEADER_TEXT = r"^[\x20-\x7e]+$"

_MODEL = (
    "a model is called by small letters, digits, `.`, `_` and `-`, 100 at most, the first one a "
    "letter or a digit"
)
IN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        MODEL_PATTERN: _MODEL,
        ANY_MODEL: _MODEL,
        NAME_PATTERN: "it has a character that parts lines, turns text round or is not seen",
        STORED_NAME_PATTERN: "it has a character that parts lines or is not seen",
        NO_NUL: "it has a character of code 0, which no text has",
        PICTURES: "one to eight positions of pictures, numbers of seven digits at most with commas "
        "between them, as in `0,4,17`",
        SHA256: "a SHA-256 is written as 64 digits of `0` to `9` and `a` to `f`",
        HEADER_TEXT: "a header is made of ASCII's characters, from the blank to `~`",
    }
)
"""What each of them says."""
