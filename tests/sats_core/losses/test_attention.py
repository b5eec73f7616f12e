from typing import Any

import pytest
import torch
from torch import Tensor

from sats_core.losses import QueryKey, attention_transfer
from sats_core.losses import attention as module


def from_map(attention: Tensor, requires_grad: bool = False) -> tuple[QueryKey, Tensor]:
    """A map A is the same as query = log A, key = identity, scale = 1."""
    images, heads, queries, keys = attention.shape
    query = attention.log().requires_grad_(requires_grad)
    identity = torch.eye(keys, dtype=attention.dtype).expand(images, heads, keys, keys)
    side = round(queries**0.5)
    return QueryKey(query, identity, 1.0, (side, side)), query


def explicit(old: QueryKey, new: QueryKey, labels: Tensor) -> Tensor:
    """One stage by its definition: picture by picture, class by class, the whole map."""

    def rows(a: QueryKey) -> Tensor:
        return torch.softmax(a.query @ a.key.mT * a.scale, dim=-1)

    height, width = new.grid
    ys = ((torch.arange(height) + 0.5) * labels.shape[1] / height).long()
    xs = ((torch.arange(width) + 0.5) * labels.shape[2] / width).long()
    total = new.query.new_zeros(())
    for image in range(len(labels)):
        small = labels[image][ys][:, xs].flatten()
        classes = [c for c in small.unique().tolist() if c not in (0, 255)]
        for c in classes:
            was = rows(old)[image][:, small == c].mean(1)
            now = rows(new)[image][:, small == c].mean(1)
            total = total + (now - was).norm(dim=-1).mean() / len(classes)
    return total / len(labels)


def random_attention(grid: tuple[int, int], keys: int, seed: int, heads: int = 2) -> QueryKey:
    make = torch.Generator().manual_seed(seed)
    query = torch.randn(2, heads, grid[0] * grid[1], 4, generator=make, dtype=torch.float64)
    key = torch.randn(2, heads, keys, 4, generator=make, dtype=torch.float64)
    return QueryKey(query, key, 0.5, grid)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_reference_value_and_gradient(case: dict[str, Any], dtype: torch.dtype) -> None:
    tolerance = 1e-9 if dtype == torch.float64 else 1e-5
    old = [from_map(case[f"attention_old_{s}"].to(dtype))[0] for s in range(4)]
    pairs = [from_map(case[f"attention_new_{s}"].to(dtype), True) for s in range(4)]

    loss = attention_transfer(old, [pair[0] for pair in pairs], case["labels"])

    expected = case["attention_transfer_loss"][0].to(dtype)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    if case["meta"]["edge"] != "all_background":
        assert loss > 0
    loss.backward()
    for stage, (attention, query) in enumerate(pairs):
        # The reference gives d loss / d A; the chain rule takes it to the query = log A.
        rows = torch.softmax(attention.query.detach(), dim=-1)
        grad = case[f"grad_attention_new_{stage}"].to(dtype)
        expected = rows * (grad - (rows * grad).sum(-1, keepdim=True))
        assert query.grad is not None
        torch.testing.assert_close(query.grad, expected, rtol=tolerance * 100, atol=tolerance)


@pytest.mark.parametrize("size", [(19, 23), (16, 24), (4, 4)])
@pytest.mark.parametrize("grid", [(5, 7), (8, 8), (1, 3)])
def test_is_the_definition_on_any_grid(grid: tuple[int, int], size: tuple[int, int]) -> None:
    old, new = random_attention(grid, 6, 1), random_attention(grid, 6, 2)
    labels = torch.randint(0, 4, (2, *size), generator=torch.Generator().manual_seed(3))
    labels[:, :2] = 255

    loss = attention_transfer([old] * 4, [new] * 4, labels)

    torch.testing.assert_close(loss, explicit(old, new, labels))


@pytest.mark.parametrize("entries", [1, 50, 10**9])
def test_gradients_hold_in_chunks_of_any_size(
    entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ENTRIES", entries)
    old, new = random_attention((4, 3), 5, 1), random_attention((4, 3), 5, 4)
    labels = torch.randint(0, 4, (2, 4, 3), generator=torch.Generator().manual_seed(5))

    def distance(query: Tensor, key: Tensor) -> Tensor:
        return attention_transfer([old], [QueryKey(query, key, 0.5, (4, 3))], labels)

    inputs = (new.query.requires_grad_(), new.key.requires_grad_())
    assert torch.autograd.gradcheck(distance, inputs)


def test_no_class_is_no_loss_and_no_gradient() -> None:
    old, new = random_attention((4, 4), 6, 1), random_attention((4, 4), 6, 2)
    new.query.requires_grad_()
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0] = 255

    loss = attention_transfer([old], [new], labels)
    loss.backward()

    assert loss == 0
    assert new.query.grad is not None
    assert not new.query.grad.any()


def test_equal_attention_is_no_loss_with_a_finite_gradient() -> None:
    old = random_attention((4, 4), 6, 1)
    new = QueryKey(old.query.clone().requires_grad_(), old.key, old.scale, old.grid)

    loss = attention_transfer([old], [new], torch.ones(2, 8, 8, dtype=torch.long))
    loss.backward()

    assert loss == 0
    assert new.query.grad is not None
    assert new.query.grad.isfinite().all()


def test_the_old_model_gets_no_gradient() -> None:
    old, new = random_attention((4, 4), 6, 1), random_attention((4, 4), 6, 2)
    old.query.requires_grad_()
    new.query.requires_grad_()

    attention_transfer([old], [new], torch.ones(2, 8, 8, dtype=torch.long)).backward()

    assert old.query.grad is None


def test_half_precision_queries_are_compared_in_single() -> None:
    old, new = random_attention((4, 4), 6, 1), random_attention((4, 4), 6, 2)
    labels = torch.ones(2, 8, 8, dtype=torch.long)
    low = [QueryKey(a.query.bfloat16(), a.key.bfloat16(), a.scale, a.grid) for a in (old, new)]
    exact = [QueryKey(a.query.double(), a.key.double(), a.scale, a.grid) for a in low]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = attention_transfer([low[0]], [low[1]], labels)

    assert loss.dtype == torch.float32
    expected = attention_transfer([exact[0]], [exact[1]], labels)
    torch.testing.assert_close(loss, expected.float(), rtol=1e-5, atol=1e-6)


def test_different_shapes_are_refused() -> None:
    labels = torch.ones(2, 8, 8, dtype=torch.long)
    with pytest.raises(ValueError, match="against new"):
        attention_transfer(
            [random_attention((4, 4), 6, 1)], [random_attention((4, 4), 5, 2)], labels
        )
    with pytest.raises(ValueError, match="stages"):
        attention_transfer([], [random_attention((4, 4), 5, 2)], labels)


@pytest.mark.parametrize("ignore_index", [255, 3])
def test_regions_for_every_value_give_what_those_present_give(
    ignore_index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = random_attention((4, 3), 5, 1), random_attention((4, 3), 5, 4)
    new.query.requires_grad_()
    labels = torch.randint(0, 4, (2, 8, 6), generator=torch.Generator().manual_seed(5))
    present = attention_transfer([old], [new], labels, ignore_index)
    (expected,) = torch.autograd.grad(present, new.query)

    monkeypatch.setattr(module, "regions_present", module.regions_of_every_value)
    every = attention_transfer([old], [new], labels, ignore_index)
    (gradient,) = torch.autograd.grad(every, new.query)

    torch.testing.assert_close(every, present)
    torch.testing.assert_close(gradient, expected)
