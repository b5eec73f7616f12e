"""What memory a picture takes while its decoder works, and how large it may be for that."""

from typing import Any, NamedTuple

from PIL import Image
from PIL import TiffImagePlugin as Tiff
from PIL.TiffImagePlugin import TiffImageFile

from sats_core.data.pieces import first_scan
from sats_core.errors import PictureError, PictureTooLargeError

_PLAIN = 4.0
"""Bytes a pixel: Pillow's own store; decoders that work row by row take no more."""
_WEBP = 17.0
"""Measured of lossless files, alike of all: a canvas, the frame, the one before and a copy."""
_COEFFICIENT = 2
"""Bytes of one, as a JPEG of several scans holds all of them."""
_JPEG = ("jpeg", "tiff_jpeg")
_DICTIONARIES = ("lzma", "zstd")
"""Codecs that look back on as much as they have decoded."""
_YCBCR = 6
"""Such a TIFF is decoded by way of another copy, RGBA."""
_APART = 2
"""Strips and tiles have one kind of sample each."""


class Decoding(NamedTuple):
    """What decoding a picture takes.

    Attributes:
        kind: of the file, as people call it.
        bytes: for each pixel.
    """

    kind: str
    bytes: float


def check_size(
    image: Image.Image, data: bytes, max_pixels: int, decoded_bytes: float | None
) -> None:
    """Check that a picture that was opened, not decoded, is not too large to decode.

    Args:
        image: the picture.
        data: its file.
        max_pixels: most that it may have.
        decoded_bytes: most that decoding may take, for each of `max_pixels`; None: any.

    Raises:
        PictureTooLargeError: it has or takes more.
        PictureError: a damaged TIFF.
    """
    size, pixels = f"{image.width} x {image.height}", image.width * image.height
    if pixels > max_pixels:
        raise PictureTooLargeError(f"{size} is more than {max_pixels} pixels")
    taken = decoding(image, data)
    if decoded_bytes is not None and pixels * taken.bytes > max_pixels * decoded_bytes:
        most = int(max_pixels * decoded_bytes / taken.bytes)
        raise PictureTooLargeError(
            f"{size} is more than {most} pixels, the most of a {taken.kind}, which takes much "
            "memory to decode: save it as PNG, or as JPEG that is not progressive"
        )


def decoding(image: Image.Image, data: bytes) -> Decoding:
    """Return what decoding a picture that was opened takes.

    Raises:
        PictureError: a damaged TIFF.
    """
    if image.format == "WEBP":
        return Decoding("WebP", _WEBP)
    if isinstance(image, TiffImageFile):
        return Decoding("TIFF of strips or tiles so large", _PLAIN + _piece_bytes(image))
    # MPO is what Pillow calls a JPEG that says of more pictures behind it, as telephones' do.
    if image.format in ("JPEG", "MPO") and _in_several_scans(image, data):
        held = _COEFFICIENT * _coefficients(image)
        return Decoding("JPEG of several scans", _PLAIN + held)
    return Decoding(str(image.format), _PLAIN)


def _in_several_scans(image: Image.Image, data: bytes) -> bool:
    """Whether the decoder must hold all coefficients, as each scan brings but some of them."""
    return "progressive" in image.info or first_scan(data) < len(image.getbands())


def _coefficients(image: Image.Image) -> float:
    """Return how many there are for each pixel, of all components by their sampling."""
    sampling: list[tuple[int, int]] = [
        (across, down) for _, across, down, *_ in getattr(image, "layer", ())
    ]
    if not sampling:
        return float(len(image.getbands()))
    most = max(across for across, _ in sampling) * max(down for _, down in sampling)
    return sum(across * down for across, down in sampling) / most


def _piece_bytes(image: TiffImageFile) -> float:
    """Return what libtiff holds beside the picture, for each of its pixels.

    That is one strip or tile as it is decoded: a file may be a single one.
    """
    compression = str(image.info["compression"])
    if compression == "raw":  # which Pillow reads itself, row by row
        return 0.0
    tags = image.tag_v2
    width, height = _whole(tags, Tiff.IMAGEWIDTH), _whole(tags, Tiff.IMAGELENGTH)
    if Tiff.TILEWIDTH in tags or Tiff.TILELENGTH in tags:
        pixels = _whole(tags, Tiff.TILEWIDTH) * _whole(tags, Tiff.TILELENGTH)
    else:
        pixels = width * min(_whole(tags, Tiff.ROWSPERSTRIP, height), height)
    samples = _sample_bytes(tags)
    return pixels * (samples + _codec_bytes(compression, tags, samples)) / (width * height)


def _sample_bytes(tags: Any) -> float:
    """Return the bytes of a pixel's samples in a strip or tile."""
    bits = tags.get(Tiff.BITSPERSAMPLE, (1,))
    if tags.get(Tiff.PLANAR_CONFIGURATION) == _APART:
        return float(max(bits) / 8)
    return float(max(sum(bits), bits[0] * tags.get(Tiff.SAMPLESPERPIXEL, 1)) / 8)


def _codec_bytes(compression: str, tags: Any, samples: float) -> float:
    """Return what a codec of libtiff holds, at most, for each pixel of a strip or tile."""
    if compression in _JPEG:  # it may be one of several scans
        return _COEFFICIENT * samples
    if compression in _DICTIONARIES:
        return samples
    return _PLAIN if tags.get(Tiff.PHOTOMETRIC_INTERPRETATION) == _YCBCR else 0.0


def _whole(tags: Any, tag: int, default: int | None = None) -> int:
    found = tags.get(tag, default)
    if not isinstance(found, int):
        raise PictureError("the TIFF picture is damaged or incomplete")
    return found
