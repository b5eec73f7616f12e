import math
from typing import Any

import pytest
import torch

from sats_core.losses import local_pod, pod_distance, with_background_summed

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


@DTYPES
def test_embedding_reference(case: dict[str, Any], dtype: torch.dtype) -> None:
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    embedding = local_pod(case["pod_feature_old"].to(dtype).square())
    expected = case["pod_embedding_old"].to(dtype)
    torch.testing.assert_close(embedding, expected, rtol=tolerance, atol=tolerance)


def test_loss_reference(case: dict[str, Any]) -> None:
    # The reference's two layers are the map and its half; their mean is taken, as released.
    old, new = case["pod_feature_old"].double(), case["pod_feature_new"].double()
    classes, added = case["meta"]["n_old"] + case["meta"]["n_new"], case["meta"]["n_new"]
    layers = 0.01 * pod_distance(old, new) + 0.0005 * pod_distance(old / 2, new / 2)
    loss = math.sqrt(classes / added) * layers / 2
    # The released code sums in float32.
    assert loss.item() == pytest.approx(float(case["pod_loss"]), rel=1e-7)


def test_the_same_map_is_no_distance_and_its_gradient_is_finite() -> None:
    old = torch.randn(2, 3, 8, 8)
    new = old.clone().requires_grad_()
    distance = pod_distance(old, new)
    assert distance.item() == 0
    (grad,) = torch.autograd.grad(distance, new)
    assert grad.isfinite().all()


def test_the_gradient_is_right() -> None:
    old = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    new = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda now: pod_distance(old, now), (new,))


def test_a_map_smaller_than_a_scale_has_no_windows_of_it() -> None:
    # One window of a 2 x 3 map gives 2 + 3 means, four windows of 1 x 1 give 2 each.
    assert local_pod(torch.randn(1, 1, 2, 3)).shape == (1, 5 + 8)


def test_new_channels_are_summed_into_background() -> None:
    logits = torch.arange(5.0).view(1, 5, 1, 1)
    assert with_background_summed(logits, 3).flatten().tolist() == [0 + 3 + 4, 1, 2]
