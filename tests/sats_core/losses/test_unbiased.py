from typing import Any

import pytest
import torch

from sats_core.losses import unbiased_cross_entropy, unbiased_distillation

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


@DTYPES
def test_cross_entropy_reference(case: dict[str, Any], dtype: torch.dtype) -> None:
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    logits = case["logits"].to(dtype).requires_grad_()

    loss = unbiased_cross_entropy(logits, case["labels_small"], case["meta"]["n_old"])

    expected = case["unbiased_cross_entropy"].to(dtype)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    expected = case["grad_unbiased_cross_entropy"].to(dtype)
    torch.testing.assert_close(grad, expected, rtol=tolerance, atol=tolerance)


@DTYPES
def test_distillation_reference(case: dict[str, Any], dtype: torch.dtype) -> None:
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    logits = case["logits"].to(dtype).requires_grad_()

    loss = unbiased_distillation(logits, case["old_logits"].to(dtype))

    expected = case["unbiased_distillation"].to(dtype)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    expected = case["grad_unbiased_distillation"].to(dtype)
    torch.testing.assert_close(grad, expected, rtol=tolerance, atol=tolerance)


def test_an_old_class_under_background_costs_nothing() -> None:
    logits = torch.tensor([0.0, 50.0, 0.0]).view(1, 3, 1, 1)
    labels = torch.zeros(1, 1, 1, dtype=torch.long)

    assert unbiased_cross_entropy(logits, labels, old_classes=2).item() < 1e-6
    assert unbiased_cross_entropy(logits, labels, old_classes=1).item() > 49


def test_a_new_class_in_place_of_old_background_costs_little() -> None:
    old = torch.tensor([50.0, 0.0]).view(1, 2, 1, 1)
    new_class = torch.tensor([0.0, 0.0, 50.0]).view(1, 3, 1, 1)
    old_class = torch.tensor([0.0, 50.0, 0.0]).view(1, 3, 1, 1)

    assert unbiased_distillation(new_class, old).item() < 1e-6
    assert unbiased_distillation(old_class, old).item() > 20
