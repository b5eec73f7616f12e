"""JSON from strangers: bounded, no key twice, no number that is none."""

import json
from typing import Any

from sats_core.errors import ModelError


def read_object(data: bytes, file: str, most: int) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        data: the file's bytes.
        file: its name, for errors.
        most: bytes it may have.

    Raises:
        ModelError: too large, no JSON object, a key twice, NaN or an infinity.
    """
    if len(data) > most:
        raise ModelError(f"{file}: larger than {most} bytes")
    try:
        value = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read as JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} is no JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:100]!r} is there twice")
        found[name] = value
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
