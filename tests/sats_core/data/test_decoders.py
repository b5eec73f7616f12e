"""What pictures take while they are decoded: measured, and refused where it is too much."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sats_core.data.pictures import decode_picture
from sats_core.errors import PictureError, PictureTooLargeError
from sats_core.limits import DECODED_BYTES

MIB = 2**20
ROOT = Path(__file__).parents[3]
DECODE = """
import sys
from sats_core.data.pictures import decode_resized
from sats_core.errors import PictureError, PictureTooLargeError

def taken(line):
    return int(open("/proc/self/status").read().split(line + ":")[1].split()[0]) // 1024

data = open(sys.argv[1], "rb").read()
idle = taken("VmRSS")
try:
    decode_resized(data, int(sys.argv[2]), lambda height, width: (64, 64))
except PictureTooLargeError:
    raise
except PictureError:  # a decoded picture of floating-point numbers is none that can be used
    pass
print(taken("VmHWM") - idle)
"""

Encode = Callable[[int], bytes]
"""Takes the side of a square, pixels; returns a file."""


def encoded(side: int, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = BytesIO()
    colour: Any = {"CMYK": (9, 99, 0, 9), "F": 0.5, "I;16": 999}.get(mode, "teal")
    Image.new(mode, (side, side), colour).save(buffer, kind, **options)
    return buffer.getvalue()


def telephone(side: int, **options: Any) -> bytes:
    """Return a JPEG that says of another picture behind it."""
    small = Image.new("RGB", (8, 8))
    return encoded(side, "MPO", save_all=True, append_images=[small], **options)


def strips(mode: str, compression: str = "tiff_lzw", **options: Any) -> Encode:
    return partial(encoded, kind="TIFF", mode=mode, compression=compression, **options)


def one_strip(mode: str, compression: str = "tiff_lzw") -> Encode:
    return strips(mode, compression, strip_size=2**31 - 1)


def of_tags(side: int, bits: int, tile: int = 0) -> bytes:
    """Return an RGBA TIFF of one deflated strip, or of one tile where `tile` says its side."""
    pixels = tile * tile if tile else side * side
    data = zlib.compress(bytes(pixels * 4 * bits // 8), 1)
    offset = 8 + 2 + 12 * (11 if tile else 10) + 4
    place, length = (324, 325) if tile else (273, 279)
    whole = [(256, side), (257, side), (place, offset + 8), (length, len(data))]
    whole += [(322, tile), (323, tile)] if tile else [(278, side)]
    short = [(259, 8), (262, 2), (277, 4), (338, 2)]
    entries = [(tag, struct.pack("<HHII", tag, 4, 1, value)) for tag, value in whole]
    entries += [(tag, struct.pack("<HHIHH", tag, 3, 1, value, 0)) for tag, value in short]
    entries.append((258, struct.pack("<HHII", 258, 3, 4, offset)))
    table = b"".join(entry for _, entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + table + struct.pack("<I4H", 0, *[bits] * 4) + data


PROGRESSIVE = {"progressive": True, "subsampling": 0}
HEAVY: dict[str, tuple[float, str, Encode]] = {
    "lossless webp": (17, "WebP", partial(encoded, kind="WEBP", lossless=True, method=0)),
    "webp": (17, "WebP", partial(encoded, kind="WEBP", mode="RGBA", method=0)),
    "jpeg": (7, "JPEG", partial(encoded, kind="JPEG", progressive=True)),
    "jpeg 4:4:4": (10, "JPEG", partial(encoded, kind="JPEG", **PROGRESSIVE)),
    "jpeg cmyk": (12, "JPEG", partial(encoded, kind="JPEG", mode="CMYK", **PROGRESSIVE)),
    "mpo": (7, "JPEG", partial(telephone, progressive=True)),
    "mpo 4:4:4": (10, "JPEG", partial(telephone, **PROGRESSIVE)),
    "tiff": (7, "TIFF", one_strip("RGB")),
    "tiff deflate": (7, "TIFF", one_strip("RGB", "tiff_adobe_deflate")),
    "tiff zstd": (10, "TIFF", one_strip("RGB", "zstd")),
    "tiff jpeg": (13, "TIFF", one_strip("RGB", "jpeg")),
    "tiff cmyk": (8, "TIFF", one_strip("CMYK")),
    "tiff rgba": (8, "TIFF", one_strip("RGBA")),
    "tiff rgba 16-bit": (12, "TIFF", partial(of_tags, bits=16)),
}
PLAIN: dict[str, Encode] = {
    "png": partial(encoded, kind="PNG"),
    "jpeg": partial(encoded, kind="JPEG"),
    "mpo": telephone,
    "bmp": partial(encoded, kind="BMP"),
    "tiff raw": partial(encoded, kind="TIFF"),
    "tiff raw, one strip": strips("RGB", "raw", strip_size=2**31 - 1),
    "tiff strips": strips("RGB", strip_size=600),
    "tiff strips jpeg": strips("RGB", "jpeg", tiffinfo={278: 8}),
    "tiff strips cmyk": strips("CMYK", strip_size=600),
    "tiff 16-bit": one_strip("I;16"),
    "tiff grey": one_strip("L"),
}


@pytest.mark.parametrize(("heavy", "kind", "encode"), HEAVY.values(), ids=HEAVY)
def test_what_takes_more_to_decode_may_have_fewer_pixels(heavy: float, kind: str, encode: Encode):
    data = encode(100)
    most = int(10_000 * DECODED_BYTES / heavy)
    said = rf"100 x 100 is more than {most} pixels, the most of a {kind}"
    with pytest.raises(PictureTooLargeError, match=said):
        decode_picture(data, 10_000)
    assert decode_picture(data, 28_000).shape == (100, 100, 3)
    assert decode_picture(data, 10_000, None).shape == (100, 100, 3)


@pytest.mark.parametrize("encode", PLAIN.values(), ids=PLAIN)
def test_what_is_decoded_row_by_row_may_have_all(encode: Encode):
    assert decode_picture(encode(100), 10_000).shape == (100, 100, 3)


def test_a_tile_counts_as_large_as_it_says():
    assert decode_picture(of_tags(112, 8, tile=112), 30_000).shape == (112, 112, 3)
    for tile in (112, 1024):  # far larger than the picture, too
        with pytest.raises(PictureTooLargeError, match="a TIFF of strips or tiles"):
            decode_picture(of_tags(112, 8, tile=tile), 112 * 112)


def test_a_tiff_whose_rows_are_no_number_is_damaged():
    data = of_tags(100, 8)
    rows = struct.pack("<HH", 278, 4)
    with pytest.raises(PictureError, match="damaged"):
        decode_picture(data.replace(rows, struct.pack("<HH", 278, 11)), 50_000)  # a float


def test_a_jpeg_whose_first_scan_lacks_a_component_counts_as_one_of_several_scans():
    data = bytearray(encoded(100, "JPEG", subsampling=0))
    scan = data.index(b"\xff\xda\x00\x0c\x03")
    data[scan + 4] = 1
    with pytest.raises(PictureTooLargeError, match="several scans"):
        decode_picture(bytes(data), 10_000)


LARGEST = {name: (heavy, encode) for name, (heavy, _, encode) in HEAVY.items()}
LARGEST |= {f"plain {name}": (DECODED_BYTES, encode) for name, encode in PLAIN.items()}
LARGEST["tiff float"] = (8, one_strip("F"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("heavy", "encode"), LARGEST.values(), ids=LARGEST)
def test_the_largest_takes_no_more_than_is_said(
    tmp_path: Path, request: pytest.FixtureRequest, heavy: float, encode: Encode
):
    """Of as many pixels as are just not refused, of a limit of ten million or of forty.

    What works by bands takes some 50 MiB beside the picture, whatever its size.
    """
    limit = 40_000_000 if "tiff" in request.node.callspec.id else 10_000_000
    side = int((limit * DECODED_BYTES / heavy) ** 0.5)
    picture = tmp_path / "picture"
    picture.write_bytes(encode(side))
    command = [sys.executable, "-c", DECODE, str(picture), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) * MIB <= limit * DECODED_BYTES + 8 * MIB
