"""Names of files, classes and tasks, which strangers choose."""

import re
from collections.abc import Iterable

MAX_NAME = 1000
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = r"\x00-\x1f\x7f-\x9f"
REFUSED = rf"{_CONTROL}\xad\u200b\u2028-\u202e\u2060-\u206f\ufeff"
"""What no new name has, as ranges of a regular expression: control characters, separators of lines,
what embeds, overrides or isolates a direction of text, and what is not seen (soft hyphens, spaces
and joiners without width, byte-order marks), so that a name would look like another one. The marks
of Hebrew and Arabic text (U+200E, U+200F, U+061C) turn nothing but themselves, and the joiners of
Persian, of Indian scripts and of emoji (U+200C, U+200D) are seen in what they join."""
_BROKEN = r"\ud800-\udfff"
_UNREADABLE = re.compile(rf"[{_CONTROL}{_BROKEN}]")
_ODD = re.compile(rf"[{REFUSED}{_BROKEN}]")


def is_junk(name: str) -> bool:
    """Return whether a file is hidden, or one that macOS and Windows add by themselves."""
    parts = name.split("/")
    return any(
        part in _JUNK or (part.startswith(".") and part not in (".", "..")) for part in parts
    )


def name_fault(name: str) -> str | None:
    """Return why a name cannot be read, of what was stored long ago too, or None."""
    if not name or len(name) > MAX_NAME:
        return f"a name has 1 to {MAX_NAME} characters"
    if not is_readable_name(name):
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


def is_readable_name(name: str) -> bool:
    """Return whether any database, log and JSON can hold a name.

    What is stored is read by this rule: it never becomes stricter, or what was taken in before
    could not be read any more.
    """
    return _UNREADABLE.search(name) is None


def is_allowed_name(name: str) -> bool:
    """Return whether a name may be taken in: one that is readable and looks like what it is."""
    return _ODD.search(name) is None


def printable(text: str) -> str:
    """Return text that is safe to show: a page or terminal shows it as it is.

    Characters that no new name may have, and broken ones, are `?`.
    """
    return _ODD.sub("?", text)
