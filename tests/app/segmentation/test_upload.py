"""The forms in which pictures come, read as the service reads them, without a service."""

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import suppress

import httpx
import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from app.errors import BadRequestProblem, InvalidProblem, TooLargeProblem, UnsupportedMediaProblem
from app.errors.fields import MOST_ERRORS, invalid_fields
from app.http.bodies import beginning
from app.segmentation.json_pictures import read_json
from app.segmentation.signatures import LONGEST, starts_as_picture
from app.segmentation.upload import FIELDS, PostedPicture, read_pictures
from sats_core.data.pictures import PICTURE_FORMATS
from tests.app.segmentation.requests import encoded
from tests.fixtures.examples import examples
from tests.sats_core.data.readers.test_coco_bounds import at_most

MOST_BYTES = 30_000
MOST = 4
JSON = {"Content-Type": "application/json"}
PNG = encoded(Image.new("RGB", (3, 2), "red"))


def request(headers: dict[str, str], chunks: Sequence[bytes], *, whole: bool = True) -> Request:
    """A request whose body comes in chunks; one that is not whole ends with its client."""
    messages = [{"type": "http.request", "body": c, "more_body": True} for c in chunks]
    if whole:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    coming = iter([*messages, {"type": "http.disconnect"}])

    async def receive():
        return next(coming)

    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": pairs}, receive)


def pictures(headers: dict[str, str], *chunks: bytes) -> list[PostedPicture]:
    return asyncio.run(read_pictures(request(headers, chunks), MOST_BYTES, MOST, run_in_threadpool))


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape"])
def test_names_in_a_form_are_utf8_whatever_it_says(charset: str) -> None:
    said = f"multipart/form-data; charset={charset}; boundary=x"
    part = 'Content-Disposition: form-data; name="file"; filename="ü\\ud800"'
    body = f"--x\r\n{part}\r\n\r\n".encode() + PNG + b"\r\n--x--\r\n"
    assert pictures({"Content-Type": said}, body) == [PostedPicture("ü\\ud800", PNG)]


def in_json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("format", PICTURE_FORMATS)
@pytest.mark.parametrize(
    "kind",
    [
        *(None, "", "text/plain", "application/octet-stream", "application/json", "image/x-any"),
        *("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"),
    ],
)
def test_a_picture_is_one_whatever_is_said_of_it(kind: str | None, format: str) -> None:
    data = encoded(Image.new("RGB", (3, 2), "red"), format)
    headers = {} if kind is None else {"Content-Type": kind}
    assert pictures(headers, data[:1], data[1:9], data[9:]) == [PostedPicture("picture", data)]


def test_other_bodies_are_refused_by_their_first_bytes() -> None:
    for data in (b"", b"x", b"GIF89a" + PNG, b"BM the rest is text", b"RIFF1234WAVE"):
        assert not starts_as_picture(data)
        with pytest.raises(UnsupportedMediaProblem) as refused:
            # The body never ends: what is refused is not read.
            asyncio.run(
                read_pictures(
                    request({}, [data.ljust(LONGEST)], whole=False), 99, 1, run_in_threadpool
                )
            )
        for allowed in ("multipart/form-data", "PNG", "TIFF", "application/json", "base64"):
            assert allowed in refused.value.detail


def test_the_beginning_leaves_the_body_whole() -> None:
    async def read() -> tuple[bytes, bytes]:
        first, whole = await beginning(request({}, [b"ab", b"cd", b"ef"]), 3)
        return first, await whole.body()

    assert asyncio.run(read()) == (b"abcd", b"abcdef")
    with pytest.raises(ClientDisconnect):
        asyncio.run(beginning(request({}, [b"ab"], whole=False), 3))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.binary(max_size=50)), min_size=1, max_size=4))
def test_a_form_is_read_in_its_order_whatever_its_fields_are_called(
    parts: list[tuple[str, bytes]],
) -> None:
    files = [(field, (f"{place}.png", data)) for place, (field, data) in enumerate(parts)]
    sent = httpx.Request("POST", "http://x", files=files)
    found = pictures({"Content-Type": sent.headers["Content-Type"]}, sent.read())
    assert found == [PostedPicture(f"{i}.png", data) for i, (_, data) in enumerate(parts)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.booleans())
def test_base64_comes_back_in_its_order(data: list[bytes], broken_into_lines: bool) -> None:
    texts = [base64_of(one) for one in data]
    if broken_into_lines:
        texts = ["\n".join(text[i : i + 8] for i in range(0, len(text), 8)) for text in texts]
    texts[0] = "data:image/png;base64," + texts[0]
    found = pictures(JSON, in_json(images=texts))
    assert [picture.data for picture in found] == data
    assert [picture.name for picture in found] == [f"images.{i}" for i in range(len(data))]
    assert pictures(JSON, in_json(image=texts[0])) == [PostedPicture("image", data[0])]


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (in_json(image="https://example.org/a.png"), "image", "fetches nothing"),
        (in_json(image=" HTTP://169.254.169.254/"), "image", "fetches nothing"),
        (in_json(images=[base64_of(PNG), "file:///etc/passwd"]), "images.1", "fetches nothing"),
        (in_json(image="data:image/png,%89PNG"), "image", "must be base64"),
        (in_json(image="data:," + "x" * 500 + ";base64,AAAA"), "image", "must be base64"),
        (in_json(image="not base64!"), "image", "not base64"),
        (in_json(image=base64_of(PNG)[:-3]), "image", "not base64"),
        (in_json(image=base64_of(PNG) + "AAAA===="), "image", "not base64"),
        (in_json(image="ÄÖÜ"), "image", "not base64"),
        (in_json(images=[]), "images", "no picture came"),
        (in_json(), "body", "give `image` or `images`"),
        (in_json(image="AA==", images=["AA=="]), "body", "give `image` or `images`"),
        (in_json(image="AA==", url="x"), "url", "no such field"),
        (in_json(image=5), "image", "string"),
        (b"", "body", "Invalid JSON"),
        (b'{"image": "AA', "body", "Invalid JSON"),
        (b"[" * 20_000, "body", "Invalid JSON"),
        (b'{"image": "\\ud800"}', "body", "Invalid JSON"),
    ],
)
def test_json_that_holds_no_picture_is_refused_with_its_field(
    body: bytes, field: str, message: str
) -> None:
    with pytest.raises(InvalidProblem) as refused:
        read_json(body, MOST)
    assert refused.value.errors[0].field == field
    assert message in refused.value.errors[0].message + refused.value.detail


@pytest.mark.parametrize(
    "body",
    [
        b'{"images":[' + b"0," * 300_000 + b"0]}",
        b"{" + b",".join(b'"%d":0' % i for i in range(60_000)) + b"}",
        b'{"' + b"x" * 600_000 + b'":0}',
    ],
    ids=["values", "fields", "name"],
)
def test_a_body_of_many_values_is_refused_before_they_are_built(body: bytes) -> None:
    with at_most(8), pytest.raises((InvalidProblem, TooLargeProblem)) as refused:
        read_json(body, MOST)
    assert len(json.dumps(refused.value.body())) < 10_000


def test_pictures_as_data_urls_have_room_for_their_marks() -> None:
    url = "data:image/png;base64," + base64_of(PNG)
    body = json.dumps({"image": None, "images": [url] * MOST}).encode()
    assert list(read_json(body, MOST).values()) == [PNG] * MOST


def test_of_many_errors_the_first_are_named() -> None:
    found = [{"loc": (f"f{i}",), "msg": "wrong", "type": "missing"} for i in range(MOST_ERRORS + 5)]
    problem = invalid_fields(found)
    assert len(problem.errors) == MOST_ERRORS
    assert f"{MOST_ERRORS + 5} errors, of which the first {MOST_ERRORS}" in problem.detail


def test_base64_is_bounded() -> None:
    data = bytes(MOST_BYTES)
    assert pictures(JSON, in_json(image=base64_of(data)))[0].data == data
    for fields in (
        {"image": base64_of(data + b"x")},
        {"images": [base64_of(data), "AA=="]},
        {"images": ["AA=="] * (MOST + 1)},
    ):
        with pytest.raises(TooLargeProblem):
            pictures(JSON, in_json(**fields))


def test_a_bomb_is_cut_off_before_it_is_read() -> None:
    chunk = b'{"image": "' + b"A" * 50_000
    endless = [chunk] * 20
    with pytest.raises(TooLargeProblem):
        asyncio.run(
            read_pictures(request(JSON, endless, whole=False), MOST_BYTES, MOST, run_in_threadpool)
        )
    with pytest.raises(TooLargeProblem):
        pictures({**JSON, "Content-Length": "999999999"})


@settings(deadline=None, max_examples=examples(60))
@given(
    st.sampled_from(["", "application/json", "image/png", "multipart/form-data; boundary=x"]),
    st.binary(max_size=300) | st.text(max_size=100).map(lambda text: in_json(image=text)),
)
def test_any_body_is_read_or_refused(kind: str, body: bytes) -> None:
    refused = (BadRequestProblem, TooLargeProblem, UnsupportedMediaProblem, InvalidProblem)
    with suppress(*refused, MultiPartException):  # of which Starlette makes a 400
        assert pictures({"Content-Type": kind}, body)
