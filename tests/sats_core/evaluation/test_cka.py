import pytest
import torch

from sats_core.evaluation.cka import LinearCka


def cka(x: torch.Tensor, y: torch.Tensor, parts: int = 1) -> float | None:
    measured = LinearCka(x.shape[1])
    for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
        measured.add(a, b)
    return measured.value()


def test_is_the_definition_however_it_is_fed() -> None:
    x, y = torch.randn(50, 6, dtype=torch.float64), torch.randn(50, 6, dtype=torch.float64)
    y += 3 + x
    a, b = x - x.mean(0), y - y.mean(0)
    expected = ((b.mT @ a).norm() ** 2 / ((a.mT @ a).norm() * (b.mT @ b).norm())).item()
    assert cka(x, y) == pytest.approx(expected)
    assert cka(x, y, parts=7) == pytest.approx(expected)


def test_rotation_scale_and_shift_do_not_matter() -> None:
    x = torch.randn(40, 5, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    assert cka(x, 3 * x @ rotation + 7) == pytest.approx(1)


def test_unrelated_features_are_far_apart() -> None:
    torch.manual_seed(0)
    assert (cka(torch.randn(5000, 4), torch.randn(5000, 4)) or 0) < 0.01


def test_nothing_to_compare() -> None:
    assert LinearCka(3).value() is None
    assert cka(torch.ones(10, 3), torch.randn(10, 3)) is None
