"""Names of files, classes and tasks, which strangers choose."""

import re
from collections.abc import Iterable

MAX_NAME = 1000
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_DRIVE = re.compile(r"[A-Za-z]:")
CONTROL = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""What no name has, as ranges of a regular expression: control characters, separators of lines,
and what turns the direction of the text around it (Unicode's Bidi_Control), so that a name would
look like another one."""
_ODD = re.compile(rf"[{CONTROL}\ud800-\udfff]")


def is_junk(name: str) -> bool:
    """Return whether a file is hidden, or one that macOS and Windows add by themselves."""
    parts = name.split("/")
    return any(
        part in _JUNK or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def name_fault(name: str) -> str | None:
    """Return why a name is not safe, or None."""
    if not name or len(name) > MAX_NAME:
        return f"a name has 1 to {MAX_NAME} characters"
    if name != printable(name):
        return "a name with control characters or broken encoding"
    if "\\" in name:
        return "a name with a backslash; folders are parted by /"
    if name.startswith("/") or _DRIVE.match(name):
        return "an absolute name"
    if ".." in name.split("/"):
        return "a name that climbs out of the data set"
    return None


def common_folder(names: Iterable[str]) -> str:
    """Return the folders that everything lies in, as long as there are folders inside them."""
    parts = [name.split("/") for name in names]
    depth = 0
    while parts and any(len(p) > depth + 2 for p in parts):
        heads = {p[depth] if len(p) > depth + 1 else None for p in parts}
        if len(heads) > 1 or None in heads:
            break
        depth += 1
    return "".join(part + "/" for part in parts[0][:depth]) if parts else ""


def printable(text: str) -> str:
    """Return text that any database, log and JSON can hold, and a page or terminal shows as it is.

    Control characters, among them those that turn a text's direction, and broken ones are `?`.
    """
    return _ODD.sub("?", text)
