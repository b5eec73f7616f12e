"""What an overlay takes while it is drawn and encoded: no more than a request holds for it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.segmentation.admission import PIXEL_BYTES
from app.segmentation.negotiation import Representation

MIB = 2**20
ROOT = Path(__file__).parents[3]
SHAPE = (2000, 3000)
SPARE = 8 * MIB
"""For the bands that a picture is drawn in, whatever its size."""
DRAW = """
import sys
from functools import partial
from pathlib import Path
import numpy as np
from app.segmentation.rendering import overlay_png, overlay_webp
from sats_core.classes import Catalogue
from sats_core.data.pictures import decode_image
from sats_core.heap import give_back_freed_memory

def taken(line):
    return int(Path("/proc/self/status").read_text().split(line + ":")[1].split()[0]) * 1024

def drawn(path, shape):
    decode = partial(decode_image, Path(path).read_bytes(), 50_000_000)
    draw = {"OVERLAY": overlay_png, "OVERLAY_WEBP": overlay_webp}[sys.argv[1]]
    return draw(decode, np.zeros(shape, np.uint8), Catalogue.empty(), legend=False)

give_back_freed_memory()  # as a process that serves
drawn(sys.argv[3], (64, 64))
idle = taken("VmRSS")
drawn(sys.argv[2], (int(sys.argv[4]), int(sys.argv[5])))
print(taken("VmHWM") - idle)
"""


def noise(path: Path, shape: tuple[int, int], shades: int) -> Path:
    """Write the picture that is worst to encode: of two shades a WebP, of all a PNG."""
    pixels = np.random.default_rng(0).integers(0, shades, (*shape, 3), np.uint8)
    pixels *= 255 // (shades - 1)
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("representation", "shades"),
    [(Representation.OVERLAY, 256), (Representation.OVERLAY_WEBP, 2)],
    ids=lambda value: getattr(value, "name", value),
)
def test_noise_takes_no_more_than_is_held_for_it(
    tmp_path: Path, representation: Representation, shades: int
) -> None:
    small = noise(tmp_path / "small.png", (64, 64), shades)
    large = noise(tmp_path / "large.png", SHAPE, shades)
    given = [representation.name, str(large), str(small), *map(str, SHAPE)]
    command = [sys.executable, "-c", DRAW, *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    pixels = SHAPE[0] * SHAPE[1]
    room = PIXEL_BYTES[representation] * pixels + large.stat().st_size + SPARE
    assert int(done.stdout) <= room
