"""The list of changes to the code that no test notices, and why each is let be."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("survivors.toml")


class Change(NamedTuple):
    """One small change to the code. Lines are stripped and joined, so that indents do not count."""

    file: str
    function: str
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"{self.file} {self.function}\n  - {self.was}\n  + {self.becomes}"


def accepted() -> dict[Change, str]:
    """Return every change of the list with its reason."""
    entries = tomllib.loads(LIST.read_text())["accepted"]
    return {
        Change(entry["file"], entry["function"], entry["was"], becomes): entry["why"]
        for entry in entries
        for becomes in entry["becomes"]
    }


def one_line(lines: Iterable[str]) -> str:
    """Return lines as the list writes them."""
    return " ".join(" ".join(lines).split())
