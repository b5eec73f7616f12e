"""Pictures of pages are small, and each is shown with words for who does not see it."""

import re
from pathlib import Path

from PIL import Image

from tests.docs.examples import ROOT
from tests.docs.pictures import PICTURES, WINDOW

QUICKSTART = ROOT / "docs" / "quickstart.md"
MOST_BYTES, MOST_BYTES_TOGETHER = 80_000, 800_000


def taken() -> list[Path]:
    return sorted(PICTURES.iterdir())


def test_every_picture_is_shown_and_told() -> None:
    shown = dict(
        reversed(one)
        for one in re.findall(r"!\[([^]]+)\]\(pictures/(.+?)\)", QUICKSTART.read_text())
    )
    assert shown.keys() == {path.name for path in taken()}
    assert all(len(text) > 20 for text in shown.values())
    assert len(set(shown.values())) == len(shown)


def test_they_are_small_and_show_something() -> None:
    sizes = {path.name: path.stat().st_size for path in taken()}
    assert {name for name, size in sizes.items() if size > MOST_BYTES} == set()
    assert sum(sizes.values()) <= MOST_BYTES_TOGETHER
    for path in taken():
        with Image.open(path) as picture:
            assert picture.size == (WINDOW["width"], WINDOW["height"])
            assert len(set(picture.convert("L").resize((60, 40)).getdata())) > 10, path.name
