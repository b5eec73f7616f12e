"""The settings that a step ran with, as pages show them."""

from collections.abc import Mapping
from typing import Any


def ran_with(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name, those of the method as `method_settings.NAME`; what nothing read or
    nobody chose is left out."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat |= {f"{name}.{one}": chosen for one, chosen in inner} if inner else {name: value}
    return {name: value for name, value in flat.items() if value not in (None, {}, [])}
