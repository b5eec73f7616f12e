"""What pictures take while they are decoded: measured, and refused where it is too much."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sats_core.data.pictures import decode_picture
from sats_core.errors import PictureTooLargeError
from sats_core.limits import DECODED_BYTES

MIB = 2**20
ROOT = Path(__file__).parents[3]
HEAVY: list[tuple[str, str, dict[str, Any]]] = [
    ("WEBP", "RGB", {"lossless": True, "method": 0}),
    ("WEBP", "RGBA", {"method": 0}),
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
    ("JPEG", "CMYK", {"progressive": True, "subsampling": 0}),
]
DECODE = """
import sys
from sats_core.data.pictures import decode_resized

def taken(line):
    return int(open("/proc/self/status").read().split(line + ":")[1].split()[0]) // 1024

data = open(sys.argv[1], "rb").read()
idle = taken("VmRSS")
decode_resized(data, int(sys.argv[2]), lambda height, width: (64, 64))
print(taken("VmHWM") - idle)
"""


def encoded(size: tuple[int, int], kind: str, mode: str, options: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    Image.new(mode, size, "teal" if mode != "CMYK" else (9, 99, 0, 9)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "mode", "options"), HEAVY)
def test_what_takes_more_to_decode_may_have_fewer_pixels(
    kind: str, mode: str, options: dict[str, Any]
):
    data = encoded((100, 100), kind, mode, options)
    with pytest.raises(PictureTooLargeError, match=r"100 x 100 is more than \d+ pixels, the most"):
        decode_picture(data, 10_000)
    assert decode_picture(data, 28_000).shape == (100, 100, 3)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {}), ("TIFF", {})])
def test_what_is_decoded_row_by_row_may_have_all(kind: str, options: dict[str, Any]):
    data = encoded((100, 100), kind, "RGB", options)
    assert decode_picture(data, 10_000).shape == (100, 100, 3)


def test_a_jpeg_whose_first_scan_lacks_a_component_counts_as_one_of_several_scans():
    data = bytearray(encoded((100, 100), "JPEG", "RGB", {"subsampling": 0}))
    scan = data.index(b"\xff\xda\x00\x0c\x03")
    data[scan + 4] = 1
    with pytest.raises(PictureTooLargeError, match="several scans"):
        decode_picture(bytes(data), 10_000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("kind", "mode", "options"), HEAVY)
def test_the_largest_takes_no_more_than_is_said(
    tmp_path: Path, kind: str, mode: str, options: dict[str, Any]
):
    """Of as many pixels as are just not refused of a limit of ten million."""
    limit = 10_000_000
    heavy = {"WEBP": 17, "JPEG": 12 if mode == "CMYK" else 10 if "subsampling" in options else 7}
    side = int((limit * DECODED_BYTES / heavy[kind]) ** 0.5)
    picture = tmp_path / "picture"
    picture.write_bytes(encoded((side, side), kind, mode, options))
    command = [sys.executable, "-c", DECODE, str(picture), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) * MIB <= limit * DECODED_BYTES + 8 * MIB
