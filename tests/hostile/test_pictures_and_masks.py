"""Pictures and masks from strangers: read as what they are, or refused by their file's name."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sats_core.data import pictures
from sats_core.data.pictures import decode_picture
from sats_core.errors import DatasetError
from tests.fixtures.examples import examples
from tests.hostile.sets import Entry, entries, read_all, replaced, write
from tests.sats_core.data.drawn import encode, index_mask

FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB"),
}
SIDES = st.sampled_from([(1, 1), (1, 30_000), (30_000, 1), (7, 5), (64, 48), (1, 255), (400, 300)])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
AT_FAULT = "JPEGImages/0.png"
MASK = "SegmentationClass/0.png"


@st.composite
def any_picture(draw: st.DrawFn) -> bytes:
    """Any picture that Pillow writes, with what belongs to pictures: frames, EXIF, a profile."""
    kind = draw(st.sampled_from(sorted(FORMATS)))
    mode, (width, height) = draw(st.sampled_from(FORMATS[kind])), draw(SIDES)
    if kind == "WEBP":
        width, height = min(width, 16_383), min(height, 16_383)
    image = Image.new(mode, (width, height), 1 if mode != "F" else 0.5)
    options: dict[str, Any] = {}
    if kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        if draw(st.booleans()):
            exif = Image.Exif()
            exif[0x0112] = draw(st.integers(0, 9))
            options["exif"] = exif
        if draw(st.booleans()):
            options["icc_profile"] = draw(st.sampled_from([SRGB, b"no profile", SRGB[:100]]))
    if kind in ("PNG", "WEBP", "TIFF") and draw(st.booleans()):
        options |= {"save_all": True, "append_images": [image.copy()]}
    if kind == "PNG" and mode in ("L", "P", "RGB") and draw(st.booleans()):
        options["transparency"] = (1, 2, 3) if mode == "RGB" else 1
    return encode(image, kind, **options)


def posted(tmp_path: Path, name: str, data: bytes) -> DatasetError | None:
    """Read a data set in which one file is `data`; return the refusal, which names that file."""
    refused = read_all(write(tmp_path / "set.zip", replaced(name, data)))
    assert len(refused) <= 1
    for error in refused:
        assert [issue.file for issue in error.issues] in ([name], [MASK])  # or: their sizes differ
    return refused[0] if refused else None


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage; a service runs on after them
@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=any_picture(), cut=st.none() | st.floats(0, 1), hit=st.none() | st.floats(0, 0.999))
def test_any_picture_is_read_or_refused(
    data: bytes, cut: float | None, hit: float | None, tmp_path: Path
) -> None:
    raw = bytearray(data)
    if hit is not None:
        raw[int(hit * len(raw))] ^= 0xFF
    if cut is not None:
        del raw[int(cut * len(raw)) :]
    posted(tmp_path, AT_FAULT, bytes(raw))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16", "1"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_in_bands_is_the_picture_whole(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "BAND_PIXELS", 100)  # bands of 3 rows, the last one of 1
    rng = np.random.default_rng(orientation)
    small = Image.fromarray(rng.integers(0, 255, (10, 30, 3), np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) << 8)
    else:
        image = small.convert(mode)
    if mode == "RGBA":
        image.putalpha(small.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_picture(encode(image, "PNG", exif=exif), 10_000)
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = image.transpose(turn[orientation]) if orientation in turn else image
    if mode == "I;16":
        whole = np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    elif mode == "RGBA":
        white = Image.new("RGBA", upright.size, "white")
        whole = np.asarray(Image.alpha_composite(white, upright).convert("RGB"))
    else:
        whole = np.asarray(upright.convert("RGB"))
    np.testing.assert_array_equal(decoded, whole)
    assert decoded.flags.c_contiguous


def _chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png_with(name: bytes, body: bytes) -> bytes:
    """Return a PNG that has one more chunk before its pixels."""
    data = encode(Image.new("RGB", (8, 6)))
    return data[:33] + _chunk(name, body) + data[33:]


PACKED = zlib.compress(bytes(100_000_000), 1)
BOMBS = {
    "text": png_with(b"zTXt", b"k\0\0" + PACKED),
    "international text": png_with(b"iTXt", b"k\0\1\0\0\0" + PACKED),
    "profile": png_with(b"iCCP", b"k\0\0" + PACKED),
    "more rows than it says": b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 6, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", PACKED)
    + _chunk(b"IEND", b""),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_inside_a_picture_is_defused(name: str, tmp_path: Path) -> None:
    posted(tmp_path, AT_FAULT, BOMBS[name])


@pytest.mark.parametrize(
    "data", [encode(Image.new("RGB", (8, 6)), kind) for kind in ("JPEG", "WEBP", "BMP", "TIFF")]
)
def test_a_wrong_suffix_is_no_matter_in_a_picture_and_one_in_a_mask(
    data: bytes, tmp_path: Path
) -> None:
    assert posted(tmp_path, AT_FAULT, data) is None
    refused = posted(tmp_path, MASK, data)
    assert refused is not None
    assert "PNG" in refused.message


def _paletted(values: Any, colours: list[int]) -> bytes:
    image = Image.fromarray(np.asarray(values, dtype=np.uint8)).convert("L")
    image.putpalette(colours)
    return encode(image)


def _full(value: int, kind: type = np.uint8) -> Any:
    return np.full((6, 8), value, dtype=kind)


CLASS_COLOUR = (128, 0, 0)  # VOC's of index 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_paletted(_full(1), [0, 0, 0, 9, 9, 9, 5, 5, 5]), None),
        (_paletted(_full(2), [0, 0, 0, 9, 9, 9, 5, 5, 5]), "index 2 is not in the class list"),
        (encode(Image.new("RGB", (8, 6), CLASS_COLOUR)), None),
        (encode(Image.new("RGBA", (8, 6), (*CLASS_COLOUR, 0))), None),
        (encode(Image.new("RGB", (8, 6), (1, 2, 3))), "colour 1,2,3 is not in the class list"),
        (encode(Image.fromarray(_full(1, np.uint16))), None),
        (encode(Image.fromarray(_full(257, np.uint16))), "index 257 is not in the class list"),
        (index_mask(_full(255)), None),
        (index_mask(_full(254)), "index 254 is not in the class list"),
        (index_mask(_full(1)[:5]), "8 x 5 pixels"),
        (index_mask(_full(1).T), "6 x 8 pixels"),
        (encode(Image.new("L", (1, 30_000), 1)), "1 x 30000 pixels"),
        (encode(Image.new("L", (400, 300), 1)), "more than 100000 pixels"),
        (encode(Image.new("LA", (8, 6), (1, 0))), None),
        (encode(Image.new("1", (8, 6), 1)), None),
        (index_mask(_full(1))[:40], "damaged|not a picture"),
        (b"", "not a picture"),
    ],
)
def test_masks_are_understood_or_named(data: bytes, reason: str | None, tmp_path: Path) -> None:
    refused = posted(tmp_path, MASK, data)
    if reason is None:
        assert refused is None
    else:
        assert refused is not None
        assert refused.issues[0].file == MASK
        with pytest.raises(DatasetError, match=reason):
            raise refused


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    size=st.sampled_from([(8, 6), (6, 8), (1, 1)]),
    pixels=st.binary(min_size=1, max_size=200),
    colours=st.lists(st.integers(0, 255), min_size=3, max_size=9),
    labelmap=st.booleans(),
)
def test_any_mask_with_any_class_list(
    mode: str,
    size: tuple[int, int],
    pixels: bytes,
    colours: list[int],
    labelmap: bool,
    tmp_path: Path,
) -> None:
    many = (pixels * 200)[: size[0] * size[1] * 4]
    needed = len(Image.new(mode, size).tobytes())
    image = Image.frombytes(mode, size, (many * 4)[:needed])
    if mode == "P":
        image.putpalette(colours[: len(colours) // 3 * 3])
    listed = replaced(MASK, encode(image))
    if labelmap:
        listed[0] = Entry("labelmap.txt", b"cat:128,0,0::\nbackground:0,0,0::\n")
    for error in read_all(write(tmp_path / "set.zip", listed)):
        assert error.issues[0].file == MASK or (labelmap and "Segmentation" in error.message)


def test_bytes_that_are_no_text_name_their_list(tmp_path: Path) -> None:
    (refused,) = read_all(write(tmp_path / "set.zip", entries(classes=b"\xff\xfe\0")))
    assert refused.issues[0].file == "classes.txt"
