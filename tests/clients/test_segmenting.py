"""Pictures to a real service."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.inference.engine import Inference
from sats_client import Client, NotFound, Refused
from tests.app.inference.colour_graph import BLUE, CLASSES, GREEN, RED
from tests.app.segmentation.requests import encoded, left_red_right_green

EXPECTED = np.repeat([[RED.index] * 32 + [GREEN.index] * 32], 32, axis=0)


def test_a_picture_in_every_form(client: Client, register, tmp_path: Path) -> None:
    register()
    image = left_red_right_green()
    file = tmp_path / "a.png"
    image.save(file)
    for picture in (file, str(file), file.read_bytes(), image, np.asarray(image)):
        found = client.segment(picture)
        np.testing.assert_array_equal(found.mask, EXPECTED)
        assert [(one.name, one.pixels, one.color) for one in found.classes] == [
            ("red", 1024, "#ff0000"),
            ("green", 1024, "#00ff00"),
        ]
    assert (found.model, found.version) == ("default", 1)


def test_scores_versions_and_classes(client: Client, register) -> None:
    register(CLASSES[:2])
    register()
    picture = encoded(left_red_right_green())
    scored = client.segment(picture, scores=True)
    assert scored.scores is not None
    assert scored.scores.shape == scored.mask.shape
    assert all(one.score is not None and one.score > 0.9 for one in scored.classes)
    before = client.segment(picture, version=1)
    assert (before.version, GREEN.index in before.mask) == (1, False)
    chosen = client.segment(picture, classes=["green", "blue"], size=64)
    assert set(np.unique(chosen.mask)) == {0, GREEN.index}
    assert [one.index for one in client.classes().classes] == [0, 1, 2, BLUE.index]


def test_an_overlay_is_what_the_service_draws_but_for_outlines(client: Client, register) -> None:
    register()
    picture = encoded(left_red_right_green())
    drawn = client.segment(picture).overlay()
    assert drawn.size == (64, 32)
    assert drawn.getpixel((5, 5)) == RED.colour


def test_refusals(client: Client, register) -> None:
    register()
    with pytest.raises(Refused, match="the file of a picture") as refused:
        client.segment(b"no picture")
    assert refused.value.request_id
    with pytest.raises(NotFound, match="nobody"):
        client.segment(encoded(left_red_right_green()), model="nobody")


@pytest.mark.parametrize("narrow", [True, False])
def test_many_pictures(client: Client, also_async, register, service, narrow: bool) -> None:
    register()
    inference: Inference = service.state.services.inference
    pictures = [encoded(left_red_right_green(16 + 2 * number, 16)) for number in range(20)]
    widths = [16 + 2 * number for number in range(20)]
    found = client.segment_many(iter(pictures), concurrency=1 if narrow else 6)
    assert [one.mask.shape[1] for one in found] == widths
    told = also_async(lambda c: c.segment_many(iter(pictures), concurrency=6))
    assert [one.mask.shape[1] for one in told] == widths
    assert inference.load.items == 40


def test_a_turned_picture_fits_its_overlay(client: Client, register) -> None:
    register()
    turned = Image.Exif()
    turned[0x0112] = 6
    out = BytesIO()
    left_red_right_green().save(out, "JPEG", exif=turned)
    found = client.segment(out.getvalue())
    assert found.mask.shape == (64, 32)
    assert found.overlay().size == (32, 64)
