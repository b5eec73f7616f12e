"""Label Studio's brushes, held against what its SDK (2.1.2) wrote and read."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sats_core.data.readers.brush import MAX_BYTES, decode_alpha
from sats_core.data.readers.coco_shapes import ShapeError
from tests.sats_core.data.readers.brushes import encode

WRITTEN = [
    (
        6,
        8,
        [0, 0, 0, 192, 57, 27, 254, 39, 0, 191, 255, 124, 2, 255, 253, 240, 11, 255, 249, 28, 0],
        [
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            255,
            255,
            255,
            255,
            0,
            0,
            0,
            0,
            255,
            255,
            255,
            255,
            0,
            0,
            0,
            0,
            255,
            255,
            255,
            255,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ],
    ),
    (
        3,
        5,
        [
            0,
            0,
            0,
            60,
            57,
            27,
            252,
            113,
            113,
            165,
            71,
            203,
            31,
            140,
            117,
            49,
            160,
            198,
            13,
            29,
            4,
            114,
            177,
            181,
            70,
            77,
            29,
            124,
            119,
            145,
            230,
            199,
            94,
        ],
        [139, 74, 229, 241, 169, 65, 6, 160, 149, 106, 38, 175, 188, 205, 175],
    ),
    (
        1,
        9,
        [
            0,
            0,
            0,
            36,
            57,
            27,
            252,
            127,
            241,
            128,
            71,
            255,
            24,
            4,
            127,
            241,
            128,
            71,
            255,
            24,
            4,
            127,
            224,
        ],
        [255, 0, 255, 0, 255, 0, 255, 0, 255],
    ),
    (1, 1, [0, 0, 0, 4, 57, 27, 252, 96, 0], [0]),
    (
        4,
        4,
        [
            0,
            0,
            0,
            64,
            57,
            27,
            248,
            18,
            128,
            99,
            1,
            170,
            1,
            200,
            1,
            192,
            38,
            0,
            144,
            6,
            248,
            29,
            32,
            0,
            128,
            254,
            6,
            144,
            4,
            32,
            102,
            0,
            60,
            3,
            184,
            26,
            32,
            38,
            128,
            174,
            2,
            56,
            23,
            0,
            32,
            129,
            250,
            3,
            136,
            15,
            64,
            64,
            129,
            42,
            4,
            104,
            16,
            64,
            127,
            1,
            156,
            6,
            80,
            22,
            96,
            79,
            128,
            174,
            7,
            232,
            14,
            224,
            27,
            129,
            176,
            1,
            72,
            27,
            96,
            78,
            0,
            58,
            0,
            88,
            14,
            32,
            4,
            128,
            72,
            4,
            24,
            31,
            0,
            59,
            129,
            156,
            7,
            80,
            26,
            64,
            80,
            128,
            224,
            4,
            24,
            8,
            128,
            63,
            128,
            194,
            1,
            248,
            31,
            192,
            1,
            128,
            48,
            1,
            136,
        ],
        [57, 223, 210, 119, 71, 113, 141, 202, 253, 41, 11, 131, 234, 131, 63, 49],
    ),
]
"""Height, width, what `encode_rle` gave for RGBA bytes, and every fourth byte of `decode_rle`."""


@pytest.mark.parametrize(("height", "width", "rle", "alpha"), WRITTEN, ids=range(len(WRITTEN)))
def test_what_the_sdk_wrote_is_read(
    height: int, width: int, rle: list[int], alpha: list[int]
) -> None:
    assert decode_alpha(bytes(rle), height * width).tolist() == alpha


def test_the_tests_write_what_the_sdk_writes() -> None:
    for height, width, rle, alpha in WRITTEN[:4]:
        mask = np.array(alpha, dtype=np.uint8).reshape(height, width)
        assert encode(mask) == rle


@given(mask=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30)))
def test_masks_come_back(mask: np.ndarray) -> None:
    alpha = decode_alpha(bytes(encode(mask)), mask.size)
    np.testing.assert_array_equal(alpha, mask.ravel())


def test_a_run_may_be_longer_than_one_record_holds() -> None:
    mask = np.zeros((300, 400), dtype=np.uint8)
    mask[50:250, 100:300] = 255
    np.testing.assert_array_equal(decode_alpha(bytes(encode(mask)), mask.size), mask.ravel())


def stream(bits: str) -> bytes:
    return bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))


def test_literals_of_fewer_bits() -> None:
    """Two pixels as eight values of three bits, after lengths of 1, 2, 3 and 4 bits."""
    values = [1, 2, 3, 4, 5, 6, 7, 0]
    head = f"{8:032b}{2:05b}" + "".join(f"{size - 1:04b}" for size in (1, 2, 3, 4))
    record = "0" + "10" + f"{7:03b}" + "".join(f"{value:03b}" for value in values)
    assert decode_alpha(stream(head + record), 2).tolist() == [4, 0]


HEAD = f"{8:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "first 53 bits"),
        (stream(HEAD), "do not add up"),
        (stream(HEAD + "1" + "00" + "111"), "do not add up"),
        (stream(HEAD + "1" + "01" + "1111" + "1" * 8), "do not add up"),
        (stream(f"{9:032b}" + HEAD[32:] + "1"), "2 pixels are needed"),
        (stream(f"{2**32 - 1:032b}" + HEAD[32:] + "1"), "2 pixels are needed"),
        (stream(HEAD[:32] + "11111" + HEAD[37:] + "1"), "values of 32 bits"),
        (bytes(MAX_BYTES + 1), "more than"),
    ],
)
def test_hostile_brushes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        decode_alpha(data, 2)


@given(data=st.binary(max_size=60), pixels=st.integers(1, 40))
def test_any_bits_are_a_mask_or_a_clear_error(data: bytes, pixels: int) -> None:
    whole = (4 * pixels).to_bytes(4, "big") + data
    with suppress(ShapeError):
        assert decode_alpha(whole, pixels).shape == (pixels,)
