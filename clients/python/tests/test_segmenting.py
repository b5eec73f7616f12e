"""Pictures out, masks in."""

import threading
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import problem
from PIL import Image

from sats_client import BadAnswer, Client, Refused
from sats_client.segmentation import encoded, opened

CLASSES = {
    "model": "default",
    "version": 3,
    "classes": [
        {"index": 0, "name": "background", "color": "#000000", "version": 1},
        {"index": 1, "name": "red", "color": "#ff0000", "version": 1},
        {"index": 7, "name": "blue", "color": "#0000ff", "version": 3},
    ],
}
BY = {"X-Sats-Model": "default", "X-Sats-Version": "3"}
MASK = np.array([[0, 0, 7], [1, 1, 7]], np.uint8)


def png(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


OVERLAY = "image/png; profile=overlay"


class Service:
    """Answers every picture with the same mask, and remembers what was asked."""

    def __init__(self, mask: np.ndarray = MASK) -> None:
        self.asked: list[httpx.Request] = []
        self.mask = mask

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        if request.url.path == "/classes":
            return httpx.Response(200, json=CLASSES)
        if request.headers["Accept"] == "application/x-npz":
            out = BytesIO()
            scores = np.full(self.mask.shape, 0.5, np.float16)
            np.savez(out, labels=self.mask, scores=scores, classes=np.array(["a"]), indices=[0])
            return httpx.Response(200, content=out.getvalue(), headers=BY)
        return httpx.Response(200, content=png(self.mask), headers=BY)


def test_a_mask_and_what_it_shows(through):
    service = Service()
    found = through(service, lambda c: c.segment(b"a picture", size=512, classes=["red", "blue"]))
    np.testing.assert_array_equal(found.mask, MASK)
    assert (found.mask.dtype, found.model, found.version, found.scores) == (
        np.uint8,
        "default",
        3,
        None,
    )
    assert [(one.index, one.name, one.pixels) for one in found.classes] == [
        (0, "background", 2),
        (1, "red", 2),
        (7, "blue", 2),
    ]
    assert found.classes[0].share == pytest.approx(1 / 3)
    assert found.classes[0].score is None
    segment, classes = service.asked
    assert segment.content == b"a picture"
    assert str(segment.url.query, "ascii") == "size=512&classes=red&classes=blue"
    assert dict(classes.url.params) == {"model": "default", "version": "3"}


def test_scores(through):
    found = through(Service(), lambda c: c.segment(b"a picture", scores=True))
    assert found.scores.dtype == np.float16
    assert [one.score for one in found.classes] == [0.5, 0.5, 0.5]


def test_masks_of_more_than_256_classes(through):
    found = through(Service(MASK.astype(np.uint16)), lambda c: c.segment(b"a picture"))
    assert found.mask.dtype == np.uint16
    assert [one.index for one in found.classes] == [0, 1, 7]


@pytest.mark.parametrize("body", [b"<html>", png(np.zeros((2, 2, 3), np.uint8))])
def test_what_is_no_mask(through, body):
    with pytest.raises(BadAnswer):
        through(
            lambda request: (
                httpx.Response(200, content=body, headers=BY)
                if request.url.path == "/segment"
                else httpx.Response(200, json=CLASSES)
            ),
            lambda c: c.segment(b"a picture"),
        )


@pytest.mark.parametrize("scores", [False, True])
def test_a_mask_that_is_cut_off(through, scores):
    whole = Service(np.arange(64, dtype=np.uint8).reshape(8, 8))

    def cut(length: int):
        def service(request: httpx.Request) -> httpx.Response:
            answer = whole(request)
            if request.url.path != "/segment":
                return answer
            return httpx.Response(200, content=answer.content[:length], headers=BY)

        return through(service, lambda c: c.segment(b"a picture", scores=scores))

    form = "application/x-npz" if scores else "image/png"
    asked = httpx.Request("POST", "http://sats/segment", headers={"Accept": form})
    for length in range(0, len(whole(asked).content) - 40, 13):
        with pytest.raises(BadAnswer):
            cut(length)


def test_a_picture_in_every_form(tmp_path: Path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    file = tmp_path / "a.png"
    file.write_bytes(png(pixels))
    assert encoded(file) == encoded(str(file)) == encoded(file.read_bytes()) == file.read_bytes()
    for given in (pixels, Image.fromarray(pixels)):
        np.testing.assert_array_equal(Image.open(BytesIO(encoded(given))), pixels)
    assert Image.open(BytesIO(encoded(pixels[..., 0]))).mode == "L"
    assert Image.open(BytesIO(encoded(Image.fromarray(pixels).convert("CMYK")))).mode == "RGB"
    for wrong in (pixels.astype(np.float32), pixels[0, 0], np.zeros((2, 2, 2), np.uint8)):
        with pytest.raises(ValueError, match="a picture is uint8"):
            encoded(wrong)


def test_an_open_picture_is_sent_as_it_lies_in_memory():
    turned = Image.new("RGB", (4, 2))
    turned.getexif()[0x0112] = 6
    assert Image.open(BytesIO(encoded(turned))).getexif() == {}


def test_overlay(through, tmp_path: Path):
    file = tmp_path / "a.png"
    white = np.full((2, 3, 3), 255, np.uint8)
    file.write_bytes(png(white))
    overlay = through(Service(), lambda c: c.segment(file), lambda found: found.overlay())
    expected = white.copy()
    expected[MASK == 1] = (255, 127, 127)
    expected[MASK == 7] = (127, 127, 255)
    assert overlay.mode == "RGB"
    np.testing.assert_allclose(np.asarray(overlay).astype(int), expected, atol=1)


def test_overlays_lie_on_the_picture_as_it_is_seen():
    out = BytesIO()
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (4, 2)).save(out, "JPEG", exif=turned)
    assert opened(out.getvalue()).size == (2, 4)
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert opened(clear).getpixel((0, 0)) == (255, 255, 255)


class Counting:
    """Says how many pictures were taken and not yet answered."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0
        self.done = 0
        self.most = 0
        self.lock = threading.Lock()

    def __iter__(self):
        for number in range(self.count):
            with self.lock:
                self.taken += 1
                self.most = max(self.most, self.taken - self.done)
            yield str(number).encode()


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_many_in_order_and_no_more_in_memory_than_were_asked_for(through, concurrency):
    pictures, service = Counting(20), Service()
    seen = []

    def take(found):
        seen.append(found.picture)
        pictures.done += 1

    def step(client):
        if hasattr(client, "close"):
            return (take(one) for one in client.segment_many(pictures, concurrency=concurrency))

        async def each():
            async for one in client.segment_many(pictures, concurrency=concurrency):
                yield take(one)

        return each()

    through(service, step)
    assert seen == [str(number).encode() for number in range(20)]
    assert pictures.most <= concurrency


def refusing(request: httpx.Request) -> httpx.Response:
    request.read()
    if request.url.path == "/segment" and request.content == b"bad":
        return problem(422, "invalid")
    return Service()(request)


def test_one_that_is_refused_is_told_and_the_rest_goes_on(through):
    told = []
    pictures = [b"1", b"bad", b"2"]
    found = through(
        refusing,
        lambda c: c.segment_many(pictures, on_error=lambda *what: told.append(what)),
    )
    assert [one.picture for one in found] == [b"1", b"2"]
    assert [(picture, type(error)) for picture, error in told] == [(b"bad", Refused)]


def test_one_that_is_refused_is_raised(through):
    with pytest.raises(Refused):
        through(refusing, lambda c: c.segment_many([b"bad"] * 9, concurrency=2))


@pytest.mark.parametrize("concurrency", [0, -1])
def test_nothing_at_once_is_no_way(through, concurrency):
    with pytest.raises(ValueError, match="1 or more"):
        through(Service(), lambda c: c.segment_many([b"1"] * 3, concurrency=concurrency))


def test_a_reader_that_leaves_early_leaves_nothing_running():
    service = Service()
    with Client("http://sats", transport=httpx.MockTransport(service)) as client:
        found = client.segment_many(iter([b"1"] * 50), concurrency=3)
        next(found)
        found.close()
        assert len([one for one in service.asked if one.url.path == "/segment"]) <= 3
    assert not [one for one in threading.enumerate() if one.name.startswith("sats-client")]


def test_an_answer_as_it_is(through):
    asked = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, content=b"a picture", headers={"Content-Type": OVERLAY})

    def segment(client):
        return client.segment_as(b"x", OVERLAY, model="farm", classes=["red"])

    assert through(service, segment) == b"a picture"
    (request,) = asked
    assert request.headers["Accept"] == OVERLAY
    assert dict(request.url.params) == {"model": "farm", "classes": "red"}


def test_an_answer_that_is_something_else(through):
    with pytest.raises(BadAnswer, match="is it a SATS service"):
        through(lambda _: httpx.Response(200, html="hello"), lambda c: c.segment_as(b"x", OVERLAY))
