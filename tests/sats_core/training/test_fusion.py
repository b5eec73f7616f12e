import copy
import math

import pytest
import torch

from sats_core.models import Segmenter, seeded_backbone
from sats_core.training.fusion import fuse, fusion_share
from tests.fixtures.backbones import TINY


@pytest.fixture(scope="module")
def pair() -> tuple[Segmenter, Segmenter]:
    """A model of three channels, and one grown by two and moved away from it."""
    torch.manual_seed(0)
    old = Segmenter(seeded_backbone(TINY, 0), [3]).eval()
    new = copy.deepcopy(old)
    new.classifier.grow(2)
    with torch.no_grad():
        for tensor in new.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor))
    return old, new


def test_the_share_is_the_papers() -> None:
    assert fusion_share(1, 16) == pytest.approx(math.sqrt(1 / 17))
    assert fusion_share(5, 16) == pytest.approx(math.sqrt(5 / 21))


def test_every_tensor_of_the_old_model_is_averaged(pair: tuple[Segmenter, Segmenter]) -> None:
    old, new = pair
    before = {name: t.clone() for name, t in new.state_dict().items()}
    share = fuse(new, old)
    assert share == fusion_share(2, 3)
    for name, was in old.state_dict().items():
        if was.is_floating_point():
            expected = (1 - share) * was + share * before[name]
            assert torch.allclose(new.state_dict()[name], expected, atol=1e-6), name


def test_new_rows_and_the_old_model_stay(pair: tuple[Segmenter, Segmenter]) -> None:
    old, trained = pair
    new = copy.deepcopy(trained)
    kept = {name: t.clone() for name, t in old.state_dict().items()}
    rows = new.classifier.steps[1].weight.clone()
    fuse(new, old)
    assert torch.equal(new.classifier.steps[1].weight, rows)
    assert all(torch.equal(t, kept[name]) for name, t in old.state_dict().items())
