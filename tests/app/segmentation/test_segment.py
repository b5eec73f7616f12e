from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pycocotools import mask as coco
from starlette.testclient import TestClient

from app.segmentation.negotiation import Representation
from app.segmentation.schemas import EXAMPLE, SegmentationJson
from sats_core.classes import ClassInfo
from tests.app.inference.colour_graph import BACKGROUND, GREEN, RED
from tests.app.segmentation.conftest import Register
from tests.app.segmentation.requests import (
    MASK,
    OVERLAY,
    as_body,
    as_files,
    encoded,
    left_red_right_green,
    mask_of,
)

WHITE = ClassInfo(3, "white", (255, 255, 255), 0)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decode

# --- what comes back


def test_json_says_what_is_where(client: TestClient, register: Register) -> None:
    register()
    answer = client.post("/segment", **as_files(encoded(left_red_right_green())))
    assert answer.status_code == 200
    assert answer.headers["X-Sats-Model"] == "default"
    assert answer.headers["X-Sats-Version"] == "1"
    assert answer.headers["Vary"] == "Accept"
    body = answer.json()
    assert (body["model"], body["version"]) == ("default", 1)
    (picture,) = body["pictures"]
    assert (picture["name"], picture["width"], picture["height"]) == ("0.png", 64, 32)
    by_name = {c["name"]: c for c in picture["classes"]}
    assert by_name["red"]["index"] == 1
    assert by_name["red"]["color"] == "#ff0000"
    assert sum(c["pixels"] for c in picture["classes"]) == 64 * 32
    assert sum(c["share"] for c in picture["classes"]) == pytest.approx(1)
    assert by_name["red"]["share"] == pytest.approx(0.5, abs=0.05)
    assert 0.9 < by_name["green"]["score"] <= 1
    red = coco.decode(by_name["red"]["rle"])
    assert red.shape == (32, 64)
    assert red[:, :28].all()
    assert not red[:, 36:].any()


def test_background_has_no_run_lengths(client: TestClient, register: Register) -> None:
    register()
    body = client.post("/segment", **as_body(encoded(Image.new("RGB", (8, 8))))).json()
    (picture,) = body["pictures"]
    assert picture["name"] == "picture"
    (shown,) = picture["classes"]
    assert (shown["index"], shown["pixels"], shown["rle"]) == (0, 64, None)


def test_json_mask_and_overlay_agree(client: TestClient, register: Register) -> None:
    register()
    data = encoded(left_red_right_green())
    mask = mask_of(client, data)
    assert set(np.unique(mask)) <= {0, 1, 2}
    body = client.post("/segment", **as_body(data)).json()
    for shown in body["pictures"][0]["classes"]:
        assert shown["pixels"] == (mask == shown["index"]).sum()
    answer = client.post("/segment", content=data, headers=OVERLAY | {"Content-Type": "image/png"})
    assert answer.headers["Content-Type"] == "image/png; profile=overlay"
    overlay = Image.open(BytesIO(answer.content))
    assert (overlay.size, overlay.mode) == ((64, 32), "RGB")


def test_several_pictures_in_their_order(client: TestClient, register: Register) -> None:
    register()
    sizes = [(10, 20), (64, 64), (33, 7), (10, 20), (1, 1)]
    colours = [GREEN, RED, GREEN, RED, GREEN]
    pictures = [
        encoded(Image.new("RGB", size, one.colour))
        for size, one in zip(sizes, colours, strict=True)
    ]
    body = client.post("/segment", **as_files(*pictures)).json()
    assert [p["name"] for p in body["pictures"]] == [f"{i}.png" for i in range(5)]
    assert [(p["width"], p["height"]) for p in body["pictures"]] == sizes
    shown = [[c["name"] for c in p["classes"]] for p in body["pictures"]]
    assert shown == [[one.name] for one in colours]


def test_several_pictures_are_json_only(client: TestClient, register: Register) -> None:
    register()
    pictures = as_files(*[encoded(left_red_right_green())] * 2)
    answer = client.post("/segment", **pictures, headers=MASK)
    assert answer.status_code == 406
    assert "several pictures" in answer.json()["detail"]
    mixed = {"Accept": "image/png, application/json;q=0.2"}
    assert client.post("/segment", **pictures, headers=mixed).json()["version"] == 1


def test_what_nobody_can_make(client: TestClient, register: Register) -> None:
    register()
    answer = client.post(
        "/segment", **as_files(encoded(left_red_right_green())), headers={"Accept": "text/html"}
    )
    assert answer.status_code == 406
    assert answer.headers["Content-Type"] == "application/problem+json"


# --- pictures of all kinds


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_masks_fit_the_picture_as_people_see_it(
    orientation: int, client: TestClient, register: Register
) -> None:
    register()
    turn = {1: 0, 3: 180, 6: 90, 8: 270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = left_red_right_green().rotate(turn, expand=True)
    mask = mask_of(client, encoded(stored, "JPEG", quality=95, exif=exif), "image/jpeg")
    assert mask.shape == (32, 64)
    assert (mask[:, :28] == RED.index).all()
    assert (mask[:, 36:] == GREEN.index).all()


def test_alpha_grey_sixteen_bit_cmyk_and_palette(client: TestClient, register: Register) -> None:
    register()
    halves = left_red_right_green()
    opaque = halves.convert("RGBA")
    opaque.putalpha(255)
    for data in (
        encoded(opaque),
        encoded(halves.convert("P")),
        encoded(halves, "TIFF"),
        encoded(halves, "WEBP", lossless=True),
        encoded(halves, "BMP"),
        encoded(halves.convert("CMYK"), "JPEG", quality=95),
    ):
        mask = mask_of(client, data, "image/any")
        assert (mask[:, :28] == RED.index).all()
        assert (mask[:, 36:] == GREEN.index).all()


def test_light_and_dark_are_told_apart_whatever_holds_them(
    client: TestClient, register: Register
) -> None:
    register((BACKGROUND, WHITE))
    halves = np.zeros((32, 64), dtype=bool)
    halves[:, 32:] = True
    see_through = Image.new("RGBA", (64, 32), (0, 0, 0, 255))
    see_through.paste((0, 0, 0, 0), (32, 0, 64, 32))  # transparent: seen over white
    for data in (
        encoded(Image.fromarray(halves)),
        encoded(Image.fromarray(halves.astype(np.uint8) * 255)),
        encoded(Image.fromarray(halves.astype(np.uint16) * 65535)),
        encoded(see_through),
    ):
        mask = mask_of(client, data)
        assert (mask[:, :28] == BACKGROUND.index).all()
        assert (mask[:, 36:] == WHITE.index).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (31, 33)])
def test_odd_sizes(size: tuple[int, int], client: TestClient, register: Register) -> None:
    register()
    data = encoded(Image.new("RGB", size, RED.colour))
    mask = mask_of(client, data)
    assert mask.shape == size[::-1]
    assert (mask == RED.index).all()
    overlay = client.post("/segment", content=data, headers=OVERLAY | {"Content-Type": "image/png"})
    assert Image.open(BytesIO(overlay.content)).size == size


def test_a_polyglot_is_only_a_picture(client: TestClient, register: Register) -> None:
    register()
    picture = encoded(left_red_right_green())
    data = picture + b"PK\x05\x06" + bytes(18) + b"<?php evil(); ?>"
    headers = OVERLAY | {"Content-Type": "image/png"}
    answer = client.post("/segment", content=data, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/png; profile=overlay"
    assert b"evil" not in answer.content
    assert answer.content == client.post("/segment", content=picture, headers=headers).content


# --- who may, and what the documentation says


def test_a_stranger_is_refused_before_anything_is_read(
    service: FastAPI, register: Register
) -> None:
    register()
    with TestClient(service, client=("203.0.113.9", 1)) as stranger:
        answer = stranger.post("/segment", **as_files(b"x"))
    assert answer.status_code == 403


def test_the_documentation_is_complete(document: Any) -> None:
    operation = document["paths"]["/segment"]["post"]
    assert set(operation["responses"]) == {
        *("200", "400", "401", "403", "404", "406", "409", "413", "415", "422", "429", "503")
    }
    answered = {str(one.value).partition(";")[0] for one in Representation}
    assert set(operation["responses"]["200"]["content"]) == answered
    assert set(operation["requestBody"]["content"]) == {
        *("multipart/form-data", "application/json", "image/*", "application/octet-stream")
    }
    assert all(p["description"] for p in operation["parameters"])
    example = SegmentationJson.model_validate(EXAMPLE).pictures[0]
    for shown in example.classes:
        if shown.rle:
            assert coco.decode(shown.rle.model_dump()).sum() == shown.pixels
    for name in ("Segmentation", "SegmentedPicture", "ShownClass", "RunLengths"):
        schema = document["components"]["schemas"][name]
        assert all(p.get("description") for p in schema["properties"].values()), name
