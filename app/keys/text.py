"""The text of a key: `sats_<random>_<checksum>`, both in base62.

A secret scanner knows it by `KEY_PATTERN`; a typo does not fit its checksum, so it is told from a
key that is not known without asking the database. Keys made before there were checksums are
`sats_` and 43 characters.
"""

import secrets
import string
import zlib

PREFIX = "sats_"
KEY_PATTERN = r"sats_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}"

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM = 43  # 256 bits
_CHECKSUM = 6  # 32 bits
_OLD_LENGTH = len(PREFIX) + 43


def make_key(random: bytes | None = None) -> str:
    """Return a new key's text, made of 256 random bits; drawn here where none are given."""
    number = int.from_bytes(random or secrets.token_bytes(32))
    unchecked = PREFIX + _in_base62(number, _RANDOM)
    return f"{unchecked}_{_checksum(unchecked)}"


def is_mistyped(key: str) -> bool:
    """Return whether a text can be no key that was ever made: its checksum does not fit."""
    if len(key) == _OLD_LENGTH and key.startswith(PREFIX):
        return False
    unchecked, _, checksum = key.rpartition("_")
    return not unchecked.startswith(PREFIX) or checksum != _checksum(unchecked)


def _checksum(text: str) -> str:
    return _in_base62(zlib.crc32(text.encode("utf-8", "surrogatepass")), _CHECKSUM)


def _in_base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
