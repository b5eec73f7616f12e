"""What a version takes for what, on its page: pairs in a table, all classes as a heat map."""

import re

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.db import write_session
from app.storage import BlobStore
from app.web.confusions import SHADES, heat_map
from app.web.static_files import static_url
from sats_core.evaluation.scores import Confusion
from tests.app.web.conftest import Open
from tests.fixtures.browser import barriers
from tests.fixtures.versions import add_version

PIXELS = ((9_000, 900, 100), (0, 50, 50), (0, 0, 0))
CONFUSION = Confusion(classes=("background", "cat", "dog"), pixels=PIXELS, before=None, pictures=3)


def test_a_cell_is_the_share_of_its_row() -> None:
    heat = heat_map(CONFUSION)
    assert heat.classes == ["background", "cat", "dog"]
    shares = {name: [cell.share for cell in cells] for name, cells in heat.rows}
    assert shares == {
        "background": [0.9, 0.09, 0.01],
        "cat": [0.0, 0.5, 0.5],
        "dog": [None, None, None],
    }, "no pixel is labelled as a dog"
    shades = [[cell.shade for cell in cells] for _, cells in heat.rows]
    assert shades == [[9, 4, 2], [0, 8, 8], [0, 0, 0]]
    rights = [[cell.right for cell in cells] for _, cells in heat.rows]
    assert rights == np.eye(3, dtype=bool).tolist()
    assert len(SHADES) == 9
    assert heat.left_out == 0


def test_of_many_classes_those_are_shown_that_are_confused_most() -> None:
    heat = heat_map(CONFUSION, 2)
    assert heat.classes == ["cat", "dog"]
    assert [[cell.share for cell in cells] for _, cells in heat.rows] == [[0.5, 0.5], [None, None]]
    assert heat.left_out == 1


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_it_is_on_the_page_without_any_style_of_its_own(
    client: TestClient, engine: Engine, blobs: BlobStore
) -> None:
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"], confusion=CONFUSION)
    page = client.get("/ui/models/default/versions/2").text
    (table,) = re.findall(r'<table class="heat">.*?</table>', page, re.DOTALL)
    assert re.findall(r'<td class="shade-(\d)( right)?">(.*?)</td>', table) == [
        ("9", " right", "90"),
        ("4", "", "9.0"),
        ("2", "", "1.0"),
        ("0", "", "0"),
        ("8", " right", "50"),
        ("8", "", "50"),
        ("0", "", "–"),
        ("0", "", "–"),
        ("0", " right", "–"),
    ]
    assert "style=" not in table
    style = client.get(static_url("style.css")).text
    assert all(f".shade-{step} {{" in style for step in range(10))
    assert 'class="heat"' not in client.get("/ui/models/default/versions/1").text


def every_shade() -> Confusion:
    """Return a matrix in which each step of the heat map comes, as does a right one beside it."""
    wrong = [2, 7, 15, 30, 70, 150, 250, 400, 600, 900]
    pixels = np.diag([1000 - count for count in wrong])
    for at, count in enumerate(wrong):
        pixels[at, (at + 1) % len(wrong)] = count
    names = ("background", *(f"class {at}" for at in range(1, len(wrong))))
    rows = tuple(map(tuple, pixels.tolist()))
    return Confusion(classes=names, pixels=rows, before=None, pictures=3)


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
@pytest.mark.parametrize("width", [1200, 390])
def test_every_step_is_read_in_the_light_and_in_the_dark(
    open_page: Open, engine: Engine, blobs: BlobStore, width: int
) -> None:
    confusion = every_shade()
    with write_session(engine) as session:
        add_version(session, blobs, confusion.classes[1:], confusion=confusion)
    viewport = {"width": width, "height": 900}
    page = open_page("/ui/models/default/versions/1", bypass_csp=True, viewport=viewport)
    shades = page.locator(".heat tbody td:not(.right)").evaluate_all(
        "all => [...new Set(all.map(one => getComputedStyle(one).backgroundColor))].length"
    )
    assert shades == 10
    assert barriers(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
