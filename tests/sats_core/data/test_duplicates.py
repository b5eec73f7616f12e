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


def test_a_copy_is_found_behind_many_pictures_with_like_hashes():
    """Brighter and darker takes of one scene hash the same and are no copies."""
    rng = np.random.default_rng(0)
    scene = rng.integers(60, 120, (16, 17)).astype(np.uint8)
    takes = []
    for number in range(40):
        take = scene + np.uint8(10 + number)
        take[number % 16, 0] = 0  # a few bits off
        takes.append(take)
    assert duplicated_in([scene], [*takes, scene]).all()
    assert not duplicated_in([scene], takes).any()
    assert duplicated([*takes[::12], scene, scene]).tolist() == [False] * 5 + [True]


def test_comparing_goes_on_only_while_it_may():
    class EnoughError(Exception):
        pass

    def enough() -> None:
        raise EnoughError

    thumbnails = [thumbnail(picture) for picture in drawn(3)]
    with pytest.raises(EnoughError):
        duplicated(thumbnails, enough)
    with pytest.raises(EnoughError):
        duplicated_in(thumbnails, thumbnails, enough)
