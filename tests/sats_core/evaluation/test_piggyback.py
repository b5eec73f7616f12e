"""Fresh rows on features that tell a class, and on features that do not."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sats_core.evaluation.piggyback import Labelled, gap_closed, relearned
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.backbones import TINY
from tests.fixtures.drawings import draw

SIZE = 64


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone(TINY, 0), [2]).eval()


def pictures(seed: int, count: int, labelled: tuple[int, ...] = (1, 2)) -> list[Labelled]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        picture, label = draw(rng, ["disc", "bar"], SIZE)
        kept: NDArray[np.uint8] = np.where(np.isin(label, labelled), label, 0).astype(np.uint8)
        found.append((picture, kept, labelled))
    return found


def found(model: Segmenter, **changes: list[Labelled]) -> float | None:
    asked = {"taught": pictures(0, 6), "scored": pictures(1, 6), **changes}
    return relearned(model, SIZE, asked["taught"], asked["scored"], 2, lambda: None)


def blind(model: Segmenter) -> Segmenter:
    """A model whose features are the same everywhere."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for part in other.head.mix.parameters():
            part.zero_()
    return other


def test_colours_are_found_on_features_that_see_them(model: Segmenter) -> None:
    score = found(model)
    assert score is not None
    assert score > 0.3


def test_nothing_is_found_on_features_that_are_all_alike(model: Segmenter) -> None:
    assert found(blind(model)) == pytest.approx(0)


def test_the_model_is_as_it_was(model: Segmenter) -> None:
    before = {name: t.clone() for name, t in model.state_dict().items()}
    first, again = found(model), found(model)
    assert first == again
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert isinstance(model.classifier.steps[0], nn.Conv2d)


def test_what_a_picture_is_not_labelled_for_is_not_held_against_it(model: Segmenter) -> None:
    one = pictures(1, 6, labelled=(1,))
    strict = [(picture, label, (1, 2)) for picture, label, _ in one]
    lenient, harsh = found(model, scored=one), found(model, scored=strict)
    assert lenient is not None
    assert harsh is not None
    assert lenient >= harsh


def test_without_a_pixel_there_is_nothing_to_say(model: Segmenter) -> None:
    empty = [(p, np.zeros_like(label), names) for p, label, names in pictures(0, 2)]
    assert found(model, taught=empty) is None
    assert found(model, scored=empty) is None


@pytest.mark.parametrize(
    ("before", "after", "unaware", "closed"),
    [
        (0.8, 0.5, 0.4, 0.75),
        (0.8, 0.3, 0.4, 1.25),
        (0.8, 0.8, 0.4, 0.0),
        (0.8, 0.5, None, None),
        (0.4, 0.3, 0.4, None),
        (0.4, 0.3, 0.5, None),
    ],
)
def test_the_gap_that_is_closed(
    before: float, after: float, unaware: float | None, closed: float | None
) -> None:
    assert gap_closed(before, after, unaware) == pytest.approx(closed)
