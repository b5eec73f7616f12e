import io

import numpy as np
import pytest
from PIL import Image

from sats_core.data.duplicates import duplicated, duplicated_in, thumbnail
from tests.fixtures.drawings import draw


def drawn(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [draw(rng, ["disc", "bar"], 64)[0] for _ in range(count)]


def saved_again(picture: np.ndarray) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(picture).resize((48, 48)).save(out, "JPEG", quality=70)
    return np.asarray(Image.open(out))


def test_a_copy_that_was_made_smaller_and_saved_again_is_found():
    pictures = drawn(6)
    copies = [*pictures, saved_again(pictures[2])]
    found = duplicated([thumbnail(picture) for picture in copies])
    assert found.tolist() == [False] * 6 + [True]


def test_pictures_of_the_same_kind_are_no_copies():
    assert not duplicated([thumbnail(picture) for picture in drawn(60)]).any()


def test_others_are_looked_through_whole():
    pictures = drawn(4)
    ours = [thumbnail(picture) for picture in pictures]
    others = [thumbnail(picture) for picture in (*drawn(3, seed=9), saved_again(pictures[1]))]
    assert duplicated_in(ours, others).tolist() == [False, True, False, False]
    assert not duplicated_in(ours, []).any()
    assert not duplicated([]).any()


@pytest.mark.parametrize("grey", [0, 128])
def test_flat_pictures_are_not_compared(grey):
    flat = np.full((32, 32, 3), grey, np.uint8)
    assert not duplicated([thumbnail(flat)] * 3).any()
