"""What memory a picture takes while its decoder works, and how large it may be for that."""

from PIL import Image

from sats_core.data.pieces import first_scan
from sats_core.errors import PictureTooLargeError

_PLAIN = 4.0
"""Pillow's own store; decoders that work row by row take no more."""
_WEBP = 17.0
"""Measured of lossless files, alike of all: a canvas, the frame, the one before and a copy."""


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
    """
    size, pixels = f"{image.width} x {image.height}", image.width * image.height
    if pixels > max_pixels:
        raise PictureTooLargeError(f"{size} is more than {max_pixels} pixels")
    taken = _bytes_a_pixel(image, data)
    if decoded_bytes is not None and pixels * taken > max_pixels * decoded_bytes:
        most = int(max_pixels * decoded_bytes / taken)
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
