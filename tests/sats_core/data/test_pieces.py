"""Files that are cut into millions of pieces are refused before a decoder walks through them."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sats_core.data.pictures import count_pixels, decode_picture
from sats_core.data.pieces import MOST_PIECES, check_pieces
from sats_core.errors import PictureError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8))


def saved(kind: str) -> bytes:
    buffer = BytesIO()
    PICTURE.save(buffer, kind)
    return buffer.getvalue()


def png_with(chunks: int) -> bytes:
    """Empty chunks behind the header."""
    whole = saved("PNG")
    empty = struct.pack(">I", 0) + b"abCd" + struct.pack(">I", zlib.crc32(b"abCd"))
    return whole[:33] + empty * chunks + whole[33:]


def jpeg_with(segments: int, filling: bytes = b"\xff\xef\x00\x02") -> bytes:
    """Empty application segments behind the start."""
    whole = saved("JPEG")
    return whole[:2] + filling * segments + whole[2:]


@pytest.mark.parametrize("read", [count_pixels, lambda data: decode_picture(data, 10**6)])
@pytest.mark.parametrize("made", [png_with, jpeg_with])
def test_too_many_pieces_are_refused(made, read):
    assert read(made(1000)) is not None
    with pytest.raises(PictureError, match=f"more than {MOST_PIECES}"):
        read(made(MOST_PIECES))


def test_bytes_of_filling_are_pieces_too():
    with pytest.raises(PictureError, match="segments"):
        check_pieces(jpeg_with(MOST_PIECES, b"\xff"))
    with pytest.raises(PictureError, match="segments"):
        check_pieces(jpeg_with(MOST_PIECES, b"\xff\xd0"))


@given(st.sampled_from(["PNG", "JPEG"]), st.binary(max_size=200), st.integers(0, 60))
def test_what_is_damaged_is_left_to_its_decoder(kind, noise, place):
    whole = saved(kind)
    check_pieces(whole)
    check_pieces(whole[:place] + noise + whole[place:])
    check_pieces(whole[:place])
    check_pieces(noise)


def progressive(extra: int, appended: bytes = b"", between: bytes = b"") -> bytes:
    """A JPEG whose last scan comes so many times more."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    end = data.rindex(b"\xff\xd9")
    return data[:end] + (between + data[last:end]) * extra + data[end:] + appended


@pytest.mark.parametrize("between", [b"", b"\xff\xfe\x00\x04\xff\xd9"])
def test_a_jpeg_that_is_gone_over_again_and_again_is_refused(between: bytes):
    """Also where a comment between two scans has what looks like the picture's end."""
    with pytest.raises(PictureError, match="more than 64 scans"):
        decode_picture(progressive(64, between=between), 10_000)


def test_a_jpeg_of_some_scans_is_read_whatever_is_appended_to_it():
    film = b"\xff\xda\x00\x02" * 1000
    assert decode_picture(progressive(20, film), 10_000).shape == (64, 64, 3)
