"""Encoded pictures and masks to arrays. The only place that opens a picture from outside.

Decided here, once for training and serving: of several pictures in a file the first counts; EXIF
orientation is applied; transparent pixels are seen over white; 16-bit grey keeps its upper eight
bits; colour profiles are not applied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from math import ceil
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from sats_core.data.bands import BAND_PIXELS, row_bands
from sats_core.data.decoders import check_size
from sats_core.data.pieces import check_pieces
from sats_core.errors import PictureError
from sats_core.limits import DECODED_BYTES

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MASK_FORMATS = ("PNG",)

# Pillow only warns of a bomb, from a size of its own; `_decoded` refuses by the caller's limit.
Image.MAX_IMAGE_PIXELS = None

Pixels = NDArray[np.uint8]
Size = Callable[[int, int], tuple[int, int]]
"""Takes a picture's own height and width, returns those wanted."""
T = TypeVar("T")

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


@dataclass(frozen=True, eq=False)
class Resized:
    """A picture at another size than its own.

    Attributes:
        pixels: (h, w, 3) uint8 RGB, the right way up.
        height: its own, pixels.
        width: its own, pixels.
    """

    pixels: Pixels
    height: int
    width: int


def decode_picture(
    data: bytes, max_pixels: int, decoded_bytes: float | None = DECODED_BYTES
) -> Pixels:
    """Return a picture as (H, W, 3) uint8 RGB, the right way up.

    Raises:
        PictureError: not a PNG, JPEG, WebP, BMP or TIFF, or a damaged one.
        PictureTooLargeError: more than `max_pixels` pixels, or its decoder would take more than
            `decoded_bytes` for each of `max_pixels`; nothing was decoded.
    """
    return _decoded(data, PICTURE_FORMATS, max_pixels, _as_rgb, decoded_bytes=decoded_bytes)


def decode_resized(
    data: bytes,
    max_pixels: int,
    size: Size,
    admit: Callable[[int], None] = lambda _: None,
    decoded_bytes: float | None = DECODED_BYTES,
) -> Resized:
    """Return a picture resized (bilinear), as `decode_picture` and a resize after it would.

    At its own size it is in memory once, as its decoder leaves it.

    Args:
        data, max_pixels, decoded_bytes: as `decode_picture`.
        size: at which it is wanted.
        admit: hears how many pixels it has before they are decoded; what it raises is raised.

    Raises:
        PictureError, PictureTooLargeError: as `decode_picture`.
    """
    resized = partial(_resized, size=size)
    return _decoded(data, PICTURE_FORMATS, max_pixels, resized, admit, decoded_bytes)


def resize_picture(picture: Pixels, size: Size) -> Resized:
    """Return a picture, (H, W, 3) uint8 RGB, resized as `decode_resized` does."""
    return _resized(Image.fromarray(picture), size)


def decode_image(data: bytes, max_pixels: int, below: int = 0) -> Image.Image:
    """Return a picture as an RGB image, the right way up, to be drawn on.

    Args:
        data, max_pixels, below: as `decode_resized`; rows of white under the picture.

    Raises:
        PictureError, PictureTooLargeError: as `decode_picture`.
    """
    found = _decoded(data, PICTURE_FORMATS, max_pixels, lambda image: _as_drawn_on(image, below))
    # The file's own pixels are gone by now: there are never three copies.
    return found if isinstance(found, Image.Image) else Image.fromarray(found)


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


def _decoded(
    data: bytes,
    formats: tuple[str, ...],
    max_pixels: int,
    convert: Callable[[Image.Image], T],
    admit: Callable[[int], None] = lambda _: None,
    decoded_bytes: float | None = DECODED_BYTES,
) -> T:
    """Open, bound, load and convert; whatever a decoder raises becomes a `PictureError`."""
    with _opened(data, formats) as image:
        check_size(image, data, max_pixels, decoded_bytes)
        admit(image.width * image.height)
        try:
            image.load()
            return convert(image)
        except PictureError:
            raise
        except Exception as error:
            raise PictureError(f"the {image.format} picture is damaged or incomplete") from error


def _opened(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    check_pieces(data)
    try:
        return Image.open(BytesIO(data), formats=formats)
    except Exception as error:
        names = ", ".join(formats)
        raise PictureError(f"not a picture that can be read ({names})") from error


def _as_rgb(image: Image.Image, below: int = 0) -> Pixels:
    upright, stored = _room(image, image.height, image.width, below)
    for rows, band in _bands(image):
        stored[rows] = _band_as_rgb(band)
    return upright


def _as_drawn_on(image: Image.Image, below: int) -> Image.Image | Pixels:
    """Return what was decoded where it can be drawn on as it is; WebP's keeps its decoder."""
    as_it_is = _is_plain(image) and _orientation(image) not in _TURNED and image.format != "WEBP"
    return image if as_it_is and not below else _as_rgb(image, below)


def _resized(image: Image.Image, size: Size) -> Resized:
    transposed = _orientation(image) in _TRANSPOSED
    own = (image.width, image.height) if transposed else (image.height, image.width)
    wanted = size(*own)
    rows, columns = wanted[::-1] if transposed else wanted
    upright, stored = _room(image, rows, columns)
    scale = image.height / rows
    # What a row is made of reaches as far to either side of it as it is high, and a pixel.
    reach = ceil(max(scale, 1.0)) + 1
    step = rows if _is_plain(image) else max(1, int(2 * BAND_PIXELS / (scale * image.width)))
    for first in range(0, rows, step):
        last = min(rows, first + step)
        top = max(0, int(first * scale) - reach)
        bottom = min(image.height, ceil(last * scale) + reach)
        if _is_plain(image):
            band, top = image, 0
        else:
            band = Image.fromarray(_band_as_rgb(image.crop((0, top, image.width, bottom))))
        box = (0, first * scale - top, image.width, last * scale - top)
        there = band.resize((columns, last - first), Image.Resampling.BILINEAR, box)
        stored[first:last] = np.asarray(there)
    return Resized(upright, *own)


def _is_plain(image: Image.Image) -> bool:
    return image.mode == "RGB" and not image.has_transparency_data


def _orientation(image: Image.Image) -> Any:
    return image.getexif().get(ExifTags.Base.Orientation)


def _room(image: Image.Image, rows: int, columns: int, below: int = 0) -> tuple[Pixels, Pixels]:
    """Return an empty RGB picture, the right way up, and a view of it as the file stores it.

    Args:
        image: the decoded file.
        rows: of the view.
        columns: of the view.
        below: rows of white under the picture, not in the view.
    """
    if image.mode == "F":
        raise PictureError("pictures of floating-point numbers cannot be read")
    turn = _orientation(image)
    shape = (columns, rows) if turn in _TRANSPOSED else (rows, columns)
    upright = np.empty((shape[0] + below, shape[1], 3), dtype=np.uint8)
    upright[shape[0] :] = 255
    picture = upright[: shape[0]]
    return upright, _TURNED[turn](picture) if turn in _TURNED else picture


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
