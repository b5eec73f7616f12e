"""Complementary attention, pixel by pixel."""

import math

import pytest
import torch

from sats_core.losses import complementary_attention


@pytest.mark.parametrize("foci", [1, 2, 3])
def test_is_the_definition_pixel_by_pixel(foci: int) -> None:
    make = torch.Generator().manual_seed(foci)
    logits = torch.randn(2, 1 + foci, 3, 4, generator=make, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 3, 4), generator=make)
    labels[0, 0, :2] = 255
    total = 0.0
    for image in range(2):
        for row in range(3):
            for column in range(4):
                powers = [math.exp(v) for v in logits[image, :, row, column].tolist()]
                standard = powers[0] / sum(powers)
                label = int(labels[image, row, column])
                if label != 255:
                    total -= math.log(1 - standard if label == 0 else standard)
    found = complementary_attention(logits, labels)
    assert found.item() == pytest.approx(total / 24)


def test_what_is_ignored_pulls_nothing() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[255, 1], [0, 255]]])
    complementary_attention(logits, labels).backward()
    assert logits.grad is not None
    assert not logits.grad[0, :, [0, 1], [0, 1]].any()
    assert logits.grad[0, 0, 0, 1] < 0 < logits.grad[0, 0, 1, 0], "more where there is a class"


def test_sure_attention_is_finite() -> None:
    logits = torch.tensor([200.0, -200.0, -200.0]).view(1, 3, 1, 1).requires_grad_()
    loss = complementary_attention(logits, torch.zeros(1, 1, 1, dtype=torch.long))
    loss.backward()
    assert loss.item() == pytest.approx(400 - math.log(2))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
