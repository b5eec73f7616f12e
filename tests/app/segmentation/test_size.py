"""`?size=`: at how many pixels the model sees a picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from app.settings import MIB, Settings
from tests.app.inference.colour_graph import GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import MASK, as_body, as_files, encoded

SIDE = 512


def stripes(width: int) -> Image.Image:
    """Red and green stripes of 8 pixels: a model that sees one pixel in 8 of them mixes them."""
    columns = (np.arange(width) // 8) % 2
    row = np.where(columns[:, None], RED.colour, GREEN.colour).astype(np.uint8)
    return Image.fromarray(np.broadcast_to(row, (SIDE // 2, width, 3)).copy())


def right(mask: np.ndarray) -> float:
    expected = np.where((np.arange(mask.shape[1]) // 8) % 2, RED.index, GREEN.index)
    return float((mask == expected).mean())


def mask_at(client: TestClient, query: str) -> np.ndarray:
    headers = MASK | {"Content-Type": "image/png"}
    answer = client.post(f"/segment{query}", content=encoded(stripes(SIDE)), headers=headers)
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(BytesIO(answer.content)))


@contextmanager
def started(settings: Settings, **changes: int) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update=changes))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        yield client


def test_more_pixels_show_small_things(client: TestClient, register: Register) -> None:
    register()
    own, finer = mask_at(client, ""), mask_at(client, f"?size={SIDE}")
    assert own.shape == finer.shape == (SIDE // 2, SIDE)
    assert right(own) < 0.8
    assert right(finer) > 0.99


def test_beyond_a_window_windows_answer_the_same(settings: Settings, register: Register) -> None:
    register()
    masks = []
    for window in (1024, 128):
        with started(settings, serve_window=window) as client:
            masks.append(mask_at(client, f"?size={SIDE}"))
    # The graph looks at squares of four pixels: what lies beyond a window's edge changes nothing.
    assert (masks[0] == masks[1]).all()


@pytest.mark.parametrize("size", ["31", "0", "-5", "2049", "99999999999999999999", "1.5", "large"])
def test_a_size_out_of_bounds_is_told_before_the_body_is_read(
    client: TestClient, register: Register, size: str
) -> None:
    register()
    refused = client.post(f"/segment?size={size}", **as_body(encoded(stripes(64))))
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["query.size"]


@pytest.mark.parametrize(
    ("width", "size", "status"),
    [(1, 2048, 422), (1, 65, 422), (1, 64, 200), (63, 512, 422), (64, 512, 200), (100, 512, 200)],
)
def test_a_picture_is_enlarged_eight_times_or_to_the_model_s_own_view(
    client: TestClient, register: Register, width: int, size: int, status: int
) -> None:
    register()
    picture = stripes(width).crop((0, 0, width, 1))
    answer = client.post(f"/segment?size={size}", **as_body(encoded(picture)))
    assert answer.status_code == status, answer.text
    if status == 422:
        assert f"`size` is {size}" in answer.json()["detail"]
        assert f"seen at {max(64, 8 * width)} at most" in answer.json()["detail"]
        (error,) = answer.json()["errors"]
        assert (error["field"], error["code"]) == ("query.size", "too_large")


def test_of_several_pictures_the_one_that_is_too_small_is_named(
    client: TestClient, register: Register
) -> None:
    register()
    files = as_files(encoded(stripes(512)), encoded(stripes(512).crop((0, 0, 8, 8))))
    refused = client.post("/segment?size=512", **files)
    assert refused.status_code == 422
    (fault,) = refused.json()["errors"]
    assert "8 x 8" in fault["message"]


def test_what_is_seen_takes_room(settings: Settings, register: Register) -> None:
    register()
    with started(settings, serve_bytes=4 * MIB) as client:
        picture = as_body(encoded(stripes(64)))
        assert client.post("/segment?size=128", **picture).status_code == 200
        refused = client.post("/segment?size=1024", **picture)
    assert refused.status_code == 413
    assert "memory" in refused.json()["detail"]
