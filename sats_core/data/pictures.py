"""Encoded pictures and masks to arrays. The only place that opens a picture from outside.

What is decided here, once for training and serving: of an animation or a file of several pages the
first counts; EXIF orientation is applied; transparent pixels are seen over white; 16-bit grey keeps
its upper eight bits; colour profiles are not applied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from sats_core.errors import PictureError, PictureTooLargeError

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MASK_FORMATS = ("PNG",)

# Pillow only warns of a bomb, and from a size of its own; `_open` refuses by the caller's limit.
Image.MAX_IMAGE_PIXELS = None

Pixels = NDArray[np.uint8]
T = TypeVar("T")

BAND_PIXELS = 2**20

_TURNED: dict[Any, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda upright: upright[::-1, ::-1],
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
"""By EXIF orientation: the upright picture seen as its file stores it; views, no copies."""
_TRANSPOSED = (5, 6, 7, 8)


@dataclass(frozen=True)
class Mask:
    """A mask as it is stored, before a class list gives it a meaning.

    Attributes:
        values: (H, W) indices, uint8 or uint16; or (H, W, 3) uint8 RGB.
        palette: (n, 3) uint8 RGB of index 0..n-1 where the file brings a palette.
    """

    values: NDArray[np.uint8 | np.uint16]
    palette: Pixels | None = None


def decode_picture(data: bytes, max_pixels: int) -> Pixels:
    """Return a picture as (H, W, 3) uint8 RGB, the right way up.

    Raises:
        PictureError: not a PNG, JPEG, WebP, BMP or TIFF, or a damaged one.
        PictureTooLargeError: more than `max_pixels` pixels; nothing was decoded.
    """
    return _decoded(data, PICTURE_FORMATS, max_pixels, _as_rgb)


def count_pixels(data: bytes) -> int:
    """Return how many pixels a picture says that it has; nothing is decoded.

    Raises:
        PictureError: not a PNG, JPEG, WebP, BMP or TIFF.
    """
    with _opened(data, PICTURE_FORMATS) as image:
        return image.width * image.height


def decode_mask(data: bytes, max_pixels: int) -> Mask:
    """Return a mask's indices or colours, exactly as stored.

    Raises:
        PictureError: not a PNG, or a damaged one.
        PictureTooLargeError: more than `max_pixels` pixels; nothing was decoded.
    """
    return _decoded(data, MASK_FORMATS, max_pixels, _as_mask)


def row_bands(height: int, width: int) -> Iterator[slice]:
    """Yield slices of rows, about a million pixels each, for what takes several bytes a pixel."""
    step = max(1, BAND_PIXELS // max(1, width))
    return (slice(top, top + step) for top in range(0, height, step))


def _decoded(
    data: bytes, formats: tuple[str, ...], max_pixels: int, convert: Callable[[Image.Image], T]
) -> T:
    """Open, bound, load and convert; whatever a decoder raises becomes a `PictureError`."""
    with _opened(data, formats) as image:
        if image.width * image.height > max_pixels:
            size = f"{image.width} x {image.height}"
            raise PictureTooLargeError(f"{size} is more than {max_pixels} pixels")
        try:
            image.load()
            return convert(image)
        except PictureError:
            raise
        except Exception as error:
            raise PictureError(f"the {image.format} picture is damaged or incomplete") from error


def _opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=formats)
    except Exception as error:
        names = ", ".join(formats)
        raise PictureError(f"not a picture that can be read ({names})") from error


def _as_rgb(image: Image.Image) -> Pixels:
    if image.mode == "F":
        raise PictureError("pictures of floating-point numbers cannot be read")
    orientation: Any = image.getexif().get(ExifTags.Base.Orientation)
    shape = (image.height, image.width)
    upright = np.empty((*(shape[::-1] if orientation in _TRANSPOSED else shape), 3), dtype=np.uint8)
    stored = _TURNED[orientation](upright) if orientation in _TURNED else upright
    for rows, band in _bands(image):
        stored[rows] = _band_as_rgb(band)
    return upright


def _band_as_rgb(band: Image.Image) -> Pixels:
    if band.mode.startswith("I"):
        grey = _sixteen_bits(band) >> 8
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if band.has_transparency_data:
        white = Image.new("RGBA", band.size, "white")
        band = Image.alpha_composite(white, band.convert("RGBA"))
    return np.asarray(band.convert("RGB"))


def _as_mask(image: Image.Image) -> Mask:
    palette = _palette(image) if image.mode == "P" else None
    if image.mode.startswith("I"):
        return Mask(_filled(image, _sixteen_bits, np.uint16))
    if image.mode in ("P", "L", "1"):
        return Mask(_filled(image, np.asarray, np.uint8), palette)
    if image.mode == "LA":
        return Mask(_filled(image, lambda band: np.asarray(band.getchannel("L")), np.uint8))
    if image.mode in ("RGB", "RGBA"):
        return Mask(_filled(image, lambda band: np.asarray(band.convert("RGB")), np.uint8, 3))
    raise PictureError(f"a mask holds class indices or RGB colours, not {image.mode}")


def _filled(
    image: Image.Image,
    convert: Callable[[Image.Image], NDArray[Any]],
    kind: type[np.uint8 | np.uint16],
    *channels: int,
) -> NDArray[Any]:
    """Return an image as one array (H, W, *channels), converted band by band."""
    values = np.empty((image.height, image.width, *channels), dtype=kind)
    for rows, band in _bands(image):
        values[rows] = convert(band)
    return values


def _bands(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Yield an image's rows in bands.

    Converted whole, an image of 4 bytes a pixel is in memory up to four times.
    """
    for rows in row_bands(image.height, image.width):
        yield rows, image.crop((0, rows.start, image.width, min(rows.stop, image.height)))


def _palette(image: Image.Image) -> Pixels:
    return np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)


def _sixteen_bits(image: Image.Image) -> NDArray[np.uint16]:
    values = np.array(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise PictureError("pictures of more than 16 bits a channel cannot be read")
    return values.astype(np.uint16)
