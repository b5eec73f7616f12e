"""Pictures of a class that nobody has pictures of."""

import numpy as np
import pytest
import torch

from sats_core.evaluation.predict import predict
from sats_core.models import Segmenter, seeded_backbone
from sats_core.training.made_up import PICTURES, made_up
from tests.fixtures.backbones import TINY

SIZE = 32


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone(TINY, 0), [4]).eval()


def test_labels_are_what_the_model_finds(model: Segmenter) -> None:
    before = {name: t.clone() for name, t in model.state_dict().items()}
    found = made_up(model, SIZE, (1, 3), 0, lambda: None)
    assert len(found) == PICTURES
    for picture, label in found:
        assert picture.shape == (SIZE, SIZE, 3)
        assert set(np.unique(label)) <= {0, 1, 2, 255}
        channels = np.array([0, 1, 3])
        marked = np.isin(label, (1, 2))
        called = predict(model, picture, SIZE)
        assert (called[marked] == channels[label[marked]]).all()
    assert {1, 2} <= {int(value) for _, label in found for value in np.unique(label)}
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_the_seed_decides(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sats_core.training.made_up.STEPS", 5)
    first, again, other = (made_up(model, SIZE, (1,), seed, lambda: None) for seed in (0, 0, 1))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], other[0][0])


def test_it_can_be_asked_to_stop(model: Segmenter) -> None:
    class StopError(Exception):
        pass

    def check() -> None:
        raise StopError

    with pytest.raises(StopError):
        made_up(model, SIZE, (1,), 0, check)
    assert all(weight.requires_grad for weight in model.parameters())
