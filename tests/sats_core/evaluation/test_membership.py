"""Membership by a threshold on the loss: the curve's area, and what a loss is of."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sats_core.evaluation.membership import area_under_curve, loss_where_shown
from sats_core.evaluation.predict import labelled_input
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.backbones import TINY
from tests.fixtures.examples import examples

LOSSES = st.lists(st.floats(0, 20).map(lambda x: round(x, 1)), min_size=1, max_size=30)


def counted(members: list[float], others: list[float]) -> float:
    pairs = [(m < o) + 0.5 * (m == o) for m in members for o in others]
    return sum(pairs) / len(pairs)


@settings(max_examples=examples(200))
@given(members=LOSSES, others=LOSSES)
def test_the_area_is_the_share_of_pairs_in_order(members: list[float], others: list[float]) -> None:
    found = area_under_curve(members, others)
    assert found == pytest.approx(counted(members, others))
    assert found + area_under_curve(others, members) == pytest.approx(1)


def test_an_attack_that_cannot_fail_and_one_that_guesses() -> None:
    assert area_under_curve([0.1, 0.2], [0.3, 0.4]) == 1
    assert area_under_curve([0.3, 0.3], [0.3]) == 0.5
    assert area_under_curve([0.5], [0.3, 0.4]) == 0


def test_a_loss_is_of_the_pixels_that_show_the_class() -> None:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [4]).eval()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 32, 3), dtype=np.uint8)
    label = rng.integers(0, 4, (40, 32), dtype=np.uint8)
    label[:5] = 255
    found = loss_where_shown(model, 40, picture, label, {1: 2, 3: 0})
    pixels, marks = labelled_input(picture, label, 40, model)
    logits = F.interpolate(
        model(pixels), size=marks.shape[-2:], mode="bilinear", align_corners=False
    )
    unlikely = -logits.log_softmax(dim=1)[0]
    asked = [unlikely[2][marks[0] == 1], unlikely[0][marks[0] == 3]]
    assert found == pytest.approx(torch.cat(asked).mean().item(), rel=1e-5)
    assert loss_where_shown(model, 40, picture, np.zeros_like(label), {1: 2}) is None
