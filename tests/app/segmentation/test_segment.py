import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pycocotools import mask as coco
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.db import write_session
from app.models.service import find_model, promote, rollback
from app.segmentation.schemas import EXAMPLE, SegmentationJson
from app.settings import Settings
from app.storage import BlobStore
from tests.app.inference.colour_graph import BACKGROUND, CLASSES, GREEN, RED
from tests.app.segmentation.conftest import Register

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools' decode

JSON = {"Accept": "application/json"}
MASK = {"Accept": "image/png"}
OVERLAY = {"Accept": "image/png; profile=overlay"}


def left_red_right_green(width: int = 64, height: int = 32) -> Image.Image:
    image = Image.new("RGB", (width, height), RED.colour)
    image.paste(GREEN.colour, (width // 2, 0, width, height))
    return image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def mask_of(client: TestClient, data: bytes, kind: str = "image/png") -> np.ndarray[Any, Any]:
    answer = client.post("/segment", content=data, headers=MASK | {"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    return np.array(Image.open(BytesIO(answer.content)))


def as_body(data: bytes) -> dict[str, Any]:
    return {"content": data, "headers": {"Content-Type": "image/png"}}


def as_files(*pictures: bytes) -> dict[str, Any]:
    return {"files": [("pictures", (f"{i}.png", data)) for i, data in enumerate(pictures)]}


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
    assert by_name["red"]["colour"] == "#ff0000"
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
    pictures = [encoded(Image.new("RGB", size, GREEN.colour)) for size in sizes]
    body = client.post("/segment", **as_files(*pictures)).json()
    assert [p["name"] for p in body["pictures"]] == [f"{i}.png" for i in range(5)]
    assert [(p["width"], p["height"]) for p in body["pictures"]] == sizes
    assert all(p["classes"][0]["name"] == "green" for p in body["pictures"])


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
    green = Image.new("RGB", (40, 40), GREEN.colour)
    see_through = green.convert("RGBA")
    see_through.putalpha(255)
    for data in (
        encoded(see_through),
        encoded(green.convert("P")),
        encoded(green, "TIFF"),
        encoded(green, "WEBP"),
        encoded(green, "BMP"),
    ):
        assert (mask_of(client, data, "image/any") == GREEN.index).all()
    red_cmyk = encoded(Image.new("RGB", (40, 40), RED.colour).convert("CMYK"), "JPEG")
    assert (mask_of(client, red_cmyk) == RED.index).all()
    for black in (
        encoded(Image.new("L", (9, 9))),
        encoded(Image.new("1", (9, 9))),
        encoded(Image.fromarray(np.zeros((9, 9), dtype=np.uint16))),
    ):
        assert (mask_of(client, black) == BACKGROUND.index).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (31, 33)])
def test_odd_sizes(size: tuple[int, int], client: TestClient, register: Register) -> None:
    register()
    data = encoded(Image.new("RGB", size, RED.colour))
    assert mask_of(client, data).shape == size[::-1]
    overlay = client.post("/segment", content=data, headers=OVERLAY | {"Content-Type": "image/png"})
    assert Image.open(BytesIO(overlay.content)).size == size


def test_a_polyglot_is_only_a_picture(client: TestClient, register: Register) -> None:
    register()
    data = encoded(left_red_right_green()) + b"PK\x05\x06" + bytes(18) + b"<?php evil(); ?>"
    answer = client.post("/segment", content=data, headers=OVERLAY | {"Content-Type": "image/png"})
    assert b"evil" not in answer.content


def test_prometheus_reads_what_was_run(client: TestClient, register: Register) -> None:
    register()
    client.post("/segment", **as_files(*[encoded(left_red_right_green())] * 3))
    figures = client.get("/metrics").text
    assert "sats_segment_pictures_total 3.0" in figures
    assert "sats_segment_batches_total" in figures
    assert "sats_segment_places_free 64.0" in figures


# --- what is refused


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def test_a_picture_that_cannot_be_read_is_named(client: TestClient, register: Register) -> None:
    register()
    good = encoded(left_red_right_green())
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    truncated = encoded(Image.fromarray(noise), "JPEG")[:-500]
    answer = client.post("/segment", **as_files(good, b"not a picture", good, truncated, b""))
    assert answer.status_code == 422
    problem = answer.json()
    assert [error["file"] for error in problem["errors"]] == ["1.png", "3.png", "4.png"]
    assert "1.png" in problem["detail"]
    for data in (b"", b"hello", b"GIF89a" + good, truncated):
        assert client.post("/segment", **as_body(data)).status_code == 422


def test_too_many_pixels_bytes_and_pictures(
    client: TestClient, register: Register, settings: Settings
) -> None:
    register()
    answer = client.post("/segment", **as_files(bomb(50_000, 50_000)))
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["file"] == "0.png"
    many = as_files(*[encoded(Image.new("RGB", (1, 1)))] * (settings.max_pictures + 1))
    answer = client.post("/segment", **many)
    assert answer.status_code == 413
    assert str(settings.max_pictures) in answer.json()["detail"]
    large = bytes(settings.max_picture_bytes + 1)
    assert client.post("/segment", **as_body(large)).status_code == 413
    assert client.post("/segment", **as_files(large)).status_code == 413
    assert client.post("/segment", **as_files(large[:-9], large[:-9])).status_code == 413


def test_a_body_that_does_not_say_its_length_is_cut_off(
    client: TestClient, register: Register, settings: Settings
) -> None:
    register()
    chunk = bytes(1024 * 1024)
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 4 * settings.max_picture_bytes:
            sent += len(chunk)
            yield chunk

    answer = client.post("/segment", content=endless(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("request_", "status", "field"),
    [
        ({"json": {"pictures": []}}, 415, None),
        ({"content": b"x", "headers": {"Content-Type": "application/octet-stream"}}, 415, None),
        ({}, 415, None),
        ({"files": {"other": ("a.png", b"x")}}, 422, "other"),
        ({"files": {"pictures": (None, "text")}}, 422, "pictures"),
        ({"files": {"pictures": ("a.png", b"x"), "b\0d\n": (None, "y")}}, 422, None),
        (
            {
                "content": b"--x--\r\n",
                "headers": {"Content-Type": "multipart/form-data; boundary=x"},
            },
            422,
            "pictures",
        ),
        ({"content": b"junk", "headers": {"Content-Type": "multipart/form-data"}}, 400, None),
    ],
)
def test_bodies_that_hold_no_pictures(
    request_: dict[str, Any],
    status: int,
    field: str | None,
    client: TestClient,
    register: Register,
) -> None:
    register()
    answer = client.post("/segment", **request_)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    if field:
        assert answer.json()["errors"][0]["field"] == field


def test_hostile_file_names_are_only_text(client: TestClient, register: Register) -> None:
    register()
    data = encoded(left_red_right_green())
    for name in ("../../etc/passwd", "a" * 1000, "<script>.png", "\u202e\u0000é.png"):
        answer = client.post("/segment", files=[("pictures", (name, data))])
        assert answer.status_code == 200, name
        assert len(answer.json()["pictures"][0]["name"]) <= 200


# --- which version answers


def test_without_a_version(client: TestClient, register: Register) -> None:
    picture = as_files(encoded(left_red_right_green()))
    answer = client.post("/segment", **picture)
    assert answer.status_code == 404
    assert "POST /tasks" in answer.json()["detail"]
    register(live=False)
    answer = client.post("/segment", **picture)
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("no-live-version")


def test_a_version_by_its_number_held_or_not(client: TestClient, register: Register) -> None:
    register(CLASSES[:2])
    register(live=False)
    picture = as_files(encoded(left_red_right_green()))
    live = client.post("/segment", **picture)
    assert live.headers["X-Sats-Version"] == "1"
    assert "green" not in live.text
    held = client.post("/segment", params={"version": 2}, **picture)
    assert held.headers["X-Sats-Version"] == "2"
    assert "green" in held.text
    assert client.post("/segment", params={"version": 3}, **picture).status_code == 404


@pytest.mark.parametrize(
    "params",
    [{"version": 0}, {"version": 2**31}, {"version": "x"}, {"model": "NO"}, {"model": "a\0b"}],
)
def test_wrong_parameters(params: dict[str, Any], client: TestClient, register: Register) -> None:
    register()
    answer = client.post("/segment", params=params, **as_files(encoded(left_red_right_green())))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"]


def test_models_are_told_apart(client: TestClient, register: Register) -> None:
    register(CLASSES[:2])
    register(model="other")
    picture = as_files(encoded(left_red_right_green()))
    answer = client.post("/segment", params={"model": "other"}, **picture)
    assert answer.headers["X-Sats-Model"] == answer.json()["model"] == "other"
    assert "green" in answer.text
    assert "green" not in client.post("/segment", **picture).text


def test_who_asks_after_a_move_gets_the_new_version(
    client: TestClient, register: Register, engine: Engine
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register()
    assert client.post("/segment", **picture).json()["version"] == 1
    register()
    assert client.post("/segment", **picture).json()["version"] == 2
    for move, expected in ((rollback, 2), (promote, 2)):
        with write_session(engine) as session:
            model = find_model(session, "default")
            assert model is not None
            move(session, model, expected, "test")
        wanted = 1 if move is rollback else 2
        assert client.post("/segment", **picture).json()["version"] == wanted


def test_a_damaged_version_is_not_served(
    client: TestClient, register: Register, blobs: BlobStore, settings: Settings
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register()
    for path in settings.blob_dir.glob("??/*"):
        path.write_bytes(b"damaged")
    answer = client.post("/segment", **picture)
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("not-ready")


def test_a_damaged_new_version_leaves_the_old_one_answering(
    client: TestClient, register: Register, settings: Settings
) -> None:
    picture = as_files(encoded(left_red_right_green()))
    register(CLASSES[:3])
    assert client.post("/segment", **picture).json()["version"] == 1
    before = set(settings.blob_dir.glob("??/*"))
    register()
    for path in set(settings.blob_dir.glob("??/*")) - before:
        path.write_bytes(b"damaged")
    for _ in range(3):
        assert client.post("/segment", **picture).json()["version"] == 1
    assert client.post("/segment", params={"version": 2}, **picture).status_code == 503


# --- who may, and what the documentation says


def test_a_stranger_is_refused_before_anything_is_read(
    service: FastAPI, register: Register
) -> None:
    register()
    with TestClient(service, client=("203.0.113.9", 1)) as stranger:
        answer = stranger.post("/segment", **as_files(b"x"))
    assert answer.status_code == 401


def test_the_documentation_is_complete(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/segment"]["post"]
    assert set(operation["responses"]) == {
        *("200", "400", "401", "403", "404", "406", "409", "413", "415", "422", "503")
    }
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "image/png"}
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data", "image/*"}
    assert all(p["description"] for p in operation["parameters"])
    example = SegmentationJson.model_validate(EXAMPLE).pictures[0]
    for shown in example.classes:
        if shown.rle:
            assert coco.decode(shown.rle.model_dump()).sum() == shown.pixels
    for name in (
        *("SegmentationJson", "SegmentedPictureJson", "ShownClassJson", "RunLengthsJson"),
    ):
        schema = document["components"]["schemas"][name]
        assert all(p.get("description") for p in schema["properties"].values()), name
