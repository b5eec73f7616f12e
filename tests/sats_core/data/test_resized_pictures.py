"""A picture decoded to another size is the decoded picture, resized."""

import numpy as np
import pytest
from PIL import Image

from sats_core.data import pictures
from sats_core.data.pictures import (
    decode_image,
    decode_picture,
    decode_resized,
    resize_picture,
)
from sats_core.data.transforms import View, evaluation_view
from sats_core.errors import PictureError, PictureTooLargeError
from tests.sats_core.data.drawn import encode

MANY = 100_000
VIEW = View(longest=37)


def drawn(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 17, 4), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((150, 110), Image.Resampling.BICUBIC)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("view", [VIEW, View(longest=300), View(stretch=(64, 32))])
def test_it_is_the_decoded_picture_resized(
    mode: str, orientation: int, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "BAND_PIXELS", 1500)  # many bands, as of a large picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(drawn(mode), "PNG", exif=exif)
    whole = decode_picture(data, MANY)
    found = decode_resized(data, MANY, view.shown)
    wanted = evaluation_view(whole, view)
    raw = resize_picture(whole, view.shown)
    assert (raw.height, raw.width) == whole.shape[:2]
    assert np.array_equal(raw.pixels, wanted)
    assert (found.height, found.width) == whole.shape[:2]
    assert found.pixels.shape == wanted.shape
    apart = np.abs(found.pixels.astype(int) - wanted)
    # Turned after it is resized, or in bands, a pixel is rounded in another order.
    assert apart.max() <= (0 if mode == "RGB" and orientation == 1 else 1)
    assert np.array_equal(np.asarray(decode_image(data, MANY)), whole)


def test_what_cannot_be_decoded_is_refused() -> None:
    data = encode(drawn("RGB"))
    with pytest.raises(PictureTooLargeError):
        decode_resized(data, 100, VIEW.shown)
    with pytest.raises(PictureError):
        decode_resized(data[: len(data) // 2], MANY, VIEW.shown)
    with pytest.raises(PictureError):
        decode_resized(encode(drawn("L").convert("F"), "TIFF"), MANY, VIEW.shown)
