"""How whole pictures are brought to what a model sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from sats_core.data.transforms import View, evaluation_view
from tests.fixtures.segformer import AutoImageProcessor, picture

SIDES = st.integers(1, 5000)


@given(SIDES, SIDES)
def test_the_longer_side_is_as_long_as_asked_for(height: int, width: int) -> None:
    view = View(longest=96)
    shown = view.shown(height, width)
    assert max(shown) == 96
    assert [side % 32 for side in view.room(*shown)] == [0, 0]


@given(SIDES, SIDES)
def test_inside_is_what_the_library_makes_of_it(height: int, width: int) -> None:
    from transformers.image_utils import get_image_size_for_max_height_width

    view = View(inside=96)
    expected = get_image_size_for_max_height_width((height, width), 96, 96)
    shown = view.shown(height, width)
    assert shown == tuple(max(1, side) for side in expected)
    assert view.room(*shown) == tuple(max(32, side) for side in shown)


@given(SIDES, SIDES)
def test_stretched_is_always_the_same(height: int, width: int) -> None:
    view = View(stretch=(50, 70))
    assert view.shown(height, width) == view.room(50, 70) == (50, 70)
    assert view.side() == 96


@pytest.mark.parametrize("size", [{}, {"longest": 3, "inside": 3}, {"longest": 0}])
def test_a_view_is_one_of_three(size: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        View(**size)


def test_pillow_resizes_as_the_librarys_processor(tmp_path) -> None:
    import transformers

    show = transformers.SegformerImageProcessor(
        size={"max_height": 64, "max_width": 64}, do_rescale=False, do_normalize=False
    )
    show.save_pretrained(tmp_path)
    show = AutoImageProcessor.from_pretrained(tmp_path)
    for height, width in ((200, 150), (33, 47), (64, 64)):
        seen = picture(height, width)
        theirs = show(Image.fromarray(seen), return_tensors="np")["pixel_values"][0].transpose(
            1, 2, 0
        )
        ours = evaluation_view(seen, View(inside=64))
        assert ours.shape == theirs.shape
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
