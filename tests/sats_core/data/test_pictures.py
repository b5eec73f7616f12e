import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sats_core.data.pictures import PICTURE_FORMATS, decode_mask, decode_picture
from sats_core.errors import PictureError
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import colour_picture, encode

MANY = 10_000_000


def test_lossless_formats_come_back_as_they_were() -> None:
    image = colour_picture()
    for format, options in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        decoded = decode_picture(encode(image, format, **options), MANY)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, np.array(image), err_msg=format)


def test_jpeg_is_read() -> None:
    image = Image.new("RGB", (40, 30), (200, 30, 40))
    decoded = decode_picture(encode(image, "JPEG", quality=95), MANY)
    assert decoded.shape == (30, 40, 3)
    assert np.abs(decoded.astype(int) - (200, 30, 40)).max() <= 4


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int, format: str) -> None:
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :24] = 255  # white in the corner above left
    image = Image.fromarray(upright)
    # What each orientation says of the stored rows, undone: how the file must be stored.
    stored = {
        1: lambda i: i,
        2: lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda i: i.transpose(Image.Transpose.ROTATE_180),
        4: lambda i: i.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda i: i.transpose(Image.Transpose.TRANSPOSE),
        6: lambda i: i.transpose(Image.Transpose.ROTATE_90),
        7: lambda i: i.transpose(Image.Transpose.TRANSVERSE),
        8: lambda i: i.transpose(Image.Transpose.ROTATE_270),
    }[orientation](image)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_picture(encode(stored, format, exif=exif), MANY)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).mean() < 8


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode_picture(encode(colour_picture(), exif=exif), MANY).shape == (6, 8, 3)


def test_transparent_pixels_are_seen_over_white() -> None:
    rgba = np.zeros((2, 2, 4), dtype=np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    decoded = decode_picture(encode(Image.fromarray(rgba)), MANY)
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[1, 1].tolist() == [255, 255, 255]


def test_grey_with_alpha_and_a_transparent_palette() -> None:
    grey = Image.new("LA", (2, 1), (90, 255))
    grey.putpixel((1, 0), (0, 0))
    assert decode_picture(encode(grey), MANY)[0].tolist() == [[90] * 3, [255] * 3]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([1, 2, 3, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    decoded = decode_picture(encode(palette, transparency=0), MANY)
    assert decoded[0].tolist() == [[255] * 3, [40, 50, 60]]


def test_grey_one_bit_and_palette() -> None:
    assert decode_picture(encode(Image.new("L", (1, 1), 77)), MANY).tolist() == [[[77] * 3]]
    assert decode_picture(encode(Image.new("1", (1, 1), 1)), MANY).tolist() == [[[255] * 3]]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert decode_picture(encode(palette), MANY).tolist() == [[[9, 8, 7]]]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_upper_bits(format: str) -> None:
    values = np.array([[0, 0x1234, 0xFFFF]], dtype=np.uint16)
    decoded = decode_picture(encode(Image.fromarray(values), format), MANY)
    assert decoded[0, :, 0].tolist() == [0, 0x12, 0xFF]


def test_sixteen_bit_colour() -> None:
    rows = b"\x00" + struct.pack(">HHH", 0x1111, 0x8080, 0xFFFF)
    decoded = decode_picture(_png(1, 1, bits=16, kind=2, data=zlib.compress(rows)), MANY)
    assert decoded.tolist() == [[[0x11, 0x80, 0xFF]]]


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str) -> None:
    image = Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK")
    decoded = decode_picture(encode(image, format), MANY)
    assert np.abs(decoded.astype(int) - (250, 10, 10)).max() < 12


def test_the_first_frame_of_several() -> None:
    frames = [Image.new("RGB", (4, 4), c) for c in ("red", "blue")]
    for format, options in (("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert decode_picture(data, MANY)[0, 0].tolist() == [255, 0, 0], format


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    assert decode_picture(encode(Image.new("RGB", size)), MANY).shape == (size[1], size[0], 3)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    # Claims 60,000 x 60,000 pixels in 60 bytes; decoding it would take 10 GB.
    bomb = _png(60_000, 60_000, bits=8, kind=2, data=zlib.compress(b""))
    with pytest.raises(PictureError, match="60000 x 60000 is more than"):
        decode_picture(bomb, MANY)


def test_the_limit_is_the_callers_alone() -> None:
    data = encode(Image.new("1", (200, 100)))
    assert decode_picture(data, 20_000).shape == (100, 200, 3)
    with pytest.raises(PictureError):
        decode_picture(data, 19_999)
    large = encode(Image.new("1", (9_500, 9_500)))
    assert decode_mask(large, 90_250_000).values.shape == (9_500, 9_500)


@pytest.mark.parametrize("format", PICTURE_FORMATS)
@pytest.mark.parametrize("left", [0.05, 0.5, 0.9])
def test_a_truncated_picture_is_refused(format: str, left: float) -> None:
    data = encode(colour_picture(64, 64), format)
    with pytest.raises(PictureError):
        decode_picture(data[: int(len(data) * left)], MANY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"%PDF-1.7 ",
        b"PK\x03\x04" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        encode(Image.new("RGB", (3, 3)), "GIF"),
        encode(Image.new("RGB", (16, 16)), "ICO"),
        encode(Image.new("RGB", (3, 3)), "PPM"),
    ],
)
def test_other_things_are_no_pictures(data: bytes) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        decode_picture(data, MANY)


def test_a_polyglot_is_what_its_start_says() -> None:
    picture = encode(colour_picture())
    trailing = picture + b"PK\x05\x06" + bytes(18) + b"<script>alert(1)</script>"
    np.testing.assert_array_equal(decode_picture(trailing, MANY), decode_picture(picture, MANY))
    with pytest.raises(PictureError):
        decode_picture(b"GIF89a" + picture, MANY)


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(PictureError, match="floating-point"):
        decode_picture(encode(Image.new("F", (2, 2)), "TIFF"), MANY)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_reason_to_refuse() -> None:
    data = encode(colour_picture(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x00\x00")
    assert decode_picture(data, MANY).shape == (6, 8, 3)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage; a service runs on after them
@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_picture_or_a_picture_error(data: bytes) -> None:
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"BM", b"RIFF"):
        _decoded_or_refused(start + data)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage; a service runs on after them
@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from(PICTURE_FORMATS), st.data())
def test_a_damaged_picture_gives_a_picture_or_a_picture_error(
    format: str, data: st.DataObject
) -> None:
    raw = bytearray(encode(colour_picture(16, 16), format))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    _decoded_or_refused(bytes(raw))


def test_masks_come_as_they_are_stored() -> None:
    indices = np.array([[0, 1, 255]], dtype=np.uint8)
    image = Image.fromarray(indices)
    assert decode_mask(encode(image), MANY).values.tolist() == [[0, 1, 255]]
    image.putpalette([0, 0, 0, 9, 8, 7] + [0] * 762)
    mask = decode_mask(encode(image), MANY)
    assert mask.values.tolist() == [[0, 1, 255]]
    assert mask.palette is not None
    assert mask.palette[1].tolist() == [9, 8, 7]
    assert decode_mask(encode(Image.new("1", (2, 1), 1)), MANY).values.tolist() == [[1, 1]]
    sixteen = Image.fromarray(np.array([[300, 2]], dtype=np.uint16))
    assert decode_mask(encode(sixteen), MANY).values.tolist() == [[300, 2]]
    colours = Image.new("RGBA", (1, 1), (1, 2, 3, 0))
    assert decode_mask(encode(colours), MANY).values.tolist() == [[[1, 2, 3]]]


def test_a_mask_is_a_png() -> None:
    with pytest.raises(PictureError, match="PNG"):
        decode_mask(encode(Image.new("L", (2, 2)), "JPEG"), MANY)


def _decoded_or_refused(data: bytes) -> None:
    try:
        decoded = decode_picture(data, 1_000_000)
    except PictureError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3


def _png(width: int, height: int, *, bits: int, kind: int, data: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
