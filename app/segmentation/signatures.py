"""What a body is, by its first bytes: what a client says of it may be wrong or missing."""

LONGEST = 14
"""Bytes that tell."""

_STARTS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"II*\0",  # TIFF, small numbers first
    b"MM\0*",
    b"II+\0",  # BigTIFF
    b"MM\0+",
)


def starts_as_picture(first: bytes) -> bool:
    """Return whether bytes begin as a PNG, JPEG, WebP, BMP or TIFF does."""
    webp = first[:4] == b"RIFF" and first[8:12] == b"WEBP"
    bmp = first[:2] == b"BM" and first[6:10] == bytes(4)  # reserved, always zero
    return webp or bmp or first.startswith(_STARTS)
