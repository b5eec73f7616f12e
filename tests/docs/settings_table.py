"""The table of `docs/settings.md`, made from the settings themselves."""

from typing import Any

from pydantic.fields import FieldInfo

from app.settings import Settings

OPENING = "<!-- settings: written by `make readme` -->\n"
CLOSING = "<!-- end of settings -->"
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"))


def settings_table() -> str:
    """Return a Markdown table of every setting: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, setting in Settings.model_fields.items():
        variable = f"`SATS_{name.upper()}`"
        rows.append(f"| {variable} | {_default(name, setting)} | {setting.description} |")
    return "\n".join(rows) + "\n"


def replace_table(text: str) -> str:
    """Put the present table into a page."""
    before, rest = text.split(OPENING)
    _, after = rest.split(CLOSING)
    return before + OPENING + settings_table() + CLOSING + after


def _default(name: str, setting: FieldInfo) -> str:
    value: Any = setting.default
    if value is None:
        return ""
    if name.endswith("_bytes"):
        for size, unit in _UNITS:
            if value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    return f"`{value}`"
