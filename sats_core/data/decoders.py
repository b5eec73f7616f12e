"""What memory a picture takes while its decoder works, and how large it may be for that."""

from PIL import Image

from sats_core.data.pieces import first_scan
from sats_core.errors import PictureTooLargeError

BYTES_A_PIXEL = 6.25
"""Most that decoding may take, of as many pixels as a picture may have: of 50 million 300 MiB."""
_PLAIN = 4.0
"""Pillow's own store; decoders that work row by row take no more."""
_WEBP = 17.0
"""Measured of lossless files, alike of all: a canvas, the frame, the one before and a copy."""


def check_size(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """Check that a picture that was opened, not decoded, is not too large to decode.

    Raises:
        PictureTooLargeError: more than `max_pixels`, or than take `BYTES_A_PIXEL` for each of them.
    """
    size, pixels = f"{image.width} x {image.height}", image.width * image.height
    if pixels > max_pixels:
        raise PictureTooLargeError(f"{size} is more than {max_pixels} pixels")
    taken = _bytes_a_pixel(image, data)
    if pixels * taken > max_pixels * BYTES_A_PIXEL:
        most = int(max_pixels * BYTES_A_PIXEL / taken)
        kind = "WebP" if image.format == "WEBP" else "JPEG of several scans"
        raise PictureTooLargeError(
            f"{size} is more than {most} pixels, the most of a {kind}, which takes much memory to "
            "decode: save it as PNG, or as JPEG that is not progressive"
        )


def _bytes_a_pixel(image: Image.Image, data: bytes) -> float:
    if image.format == "WEBP":
        return _WEBP
    if image.format == "JPEG" and _in_several_scans(image, data):
        return _PLAIN + 2 * _coefficients(image)
    return _PLAIN


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
