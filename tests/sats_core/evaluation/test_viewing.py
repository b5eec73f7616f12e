"""Pictures of many sizes, in batches."""

import numpy as np
import pytest
import torch

from sats_core.data.transforms import Pixels, View
from sats_core.evaluation.predict import labelled_input
from sats_core.evaluation.viewing import alike, viewed
from sats_core.models import Segmenter, seeded_backbone

SIZE, AT_ONCE = 32, 2
SHAPES = [(20, 32), (32, 20), (20, 32), (40, 64), (20, 32), (33, 32)]


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return Segmenter(seeded_backbone("pvt_v2_b0", 0), [2])


@pytest.fixture
def pictures() -> list[tuple[Pixels, Pixels]]:
    rng = np.random.default_rng(0)
    return [
        (rng.integers(0, 255, (*shape, 3), np.uint8), rng.integers(0, 4, shape, np.uint8))
        for shape in SHAPES
    ]


@pytest.mark.parametrize(("view", "sizes"), [(None, 1), (View(inside=40), 3)])
def test_a_batch_is_of_one_size_and_has_no_more_than_asked(
    model: Segmenter,
    pictures: list[tuple[Pixels, Pixels]],
    view: View | None,
    sizes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model, "view", view)
    batches = alike(pictures, range(len(pictures)), SIZE, model, AT_ONCE)
    assert sorted(place for batch in batches for place in batch) == list(range(len(pictures)))
    assert max(map(len, batches)) == AT_ONCE
    found = set()
    for batch in batches:
        pixels, labels = viewed(pictures, batch, SIZE, model)
        for place, seen, marks in zip(batch, pixels, labels, strict=True):
            alone, truth = labelled_input(*pictures[place], SIZE, model)
            assert torch.equal(seen, alone[0])
            assert torch.equal(marks, truth[0])
        found.add(pixels.shape[-2:])
    assert len(found) == sizes


def test_pictures_that_are_not_asked_for_are_not_read(
    model: Segmenter, pictures: list[tuple[Pixels, Pixels]]
) -> None:
    assert alike(pictures, [4, 1, 0], SIZE, model, 8) == [[4, 1, 0]]
    assert alike([], [], SIZE, model, 8) == []
