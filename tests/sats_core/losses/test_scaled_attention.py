"""Transfer of scaled attention, against the whole map picture by picture."""

import pytest
import torch
from torch import Tensor

from sats_core.losses import QueryKey, scaled_attention_transfer
from tests.sats_core.models.largest import watched

GRID = (4, 3)


def attention(
    seed: int, grid: tuple[int, int] = GRID, dtype: torch.dtype = torch.float64
) -> QueryKey:
    make = torch.Generator().manual_seed(seed)
    shape = (2, 2, grid[0] * grid[1], 4)
    query, key = (torch.randn(shape, generator=make, dtype=torch.float64) for _ in range(2))
    return QueryKey(query.to(dtype), key.to(dtype), 1 / shape[2], grid)


def moved(from_: QueryKey, much: float) -> QueryKey:
    other = attention(7)
    return from_._replace(query=from_.query + much * other.query, key=from_.key + much * other.key)


def labels_of(seed: int = 3, grid: tuple[int, int] = GRID) -> Tensor:
    labels = torch.randint(0, 4, (2, *grid), generator=torch.Generator().manual_seed(seed))
    labels[0, 0, 0] = 255
    return labels


def explicit(old: QueryKey, new: QueryKey, labels: Tensor) -> Tensor:
    """By the definition: the whole map, class by class, head by head."""
    maps = [a.query @ a.key.mT * a.scale for a in (old, new)]
    total = new.query.new_zeros(())
    for image, flat in enumerate(labels.flatten(1)):
        classes = [c for c in flat.unique().tolist() if c not in (0, 255)]
        for c in classes:
            for head in range(new.query.shape[1]):
                was, now = (a[image, head, flat == c].mean(0) for a in maps)
                total = total + (now - was).norm() / len(classes) / new.query.shape[1]
    return total / len(labels) / 4


@pytest.mark.parametrize("much", [1.0, 1e-3, 1e-8])
def test_value_and_gradient_are_the_maps(much: float) -> None:
    old = attention(1)
    new = moved(old, much)
    wanted = (new.query.requires_grad_(), new.key.requires_grad_())
    found = scaled_attention_transfer([old], [new], labels_of())
    expected = explicit(old, new, labels_of())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert found > 0
    for grad, right in zip(
        torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True
    ):
        torch.testing.assert_close(grad, right, rtol=1e-5, atol=1e-9)


def test_what_has_hardly_moved_is_told_in_single_precision() -> None:
    old = attention(1)
    new = moved(old, 1e-4)
    low = [QueryKey(a.query.float(), a.key.float(), a.scale, a.grid) for a in (old, new)]
    exact = [QueryKey(a.query.double(), a.key.double(), a.scale, a.grid) for a in low]
    found = scaled_attention_transfer([low[0]], [low[1]], labels_of())
    assert found.dtype == torch.float32
    expected = explicit(exact[0], exact[1], labels_of())
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=0)


def test_labels_are_brought_to_the_grid() -> None:
    old, new = attention(1), attention(2)
    large = labels_of().repeat_interleave(8, 1).repeat_interleave(8, 2)
    torch.testing.assert_close(
        scaled_attention_transfer([old], [new], large), explicit(old, new, labels_of())
    )


def test_blocks_are_summed_and_none_is_nothing() -> None:
    old, new, labels = attention(1), attention(2), labels_of()
    one = scaled_attention_transfer([old], [new], labels)
    torch.testing.assert_close(scaled_attention_transfer([old] * 2, [new] * 2, labels), 2 * one)
    assert scaled_attention_transfer([], [], labels) == 0


def test_equal_attention_is_no_loss_with_a_finite_gradient() -> None:
    old = attention(1)
    new = old._replace(query=old.query.clone().requires_grad_())
    loss = scaled_attention_transfer([old], [new], labels_of())
    loss.backward()
    assert loss == 0
    assert new.query.grad is not None
    assert new.query.grad.isfinite().all()


def test_no_class_is_no_loss_and_no_gradient() -> None:
    old, new = attention(1), attention(2)
    new.query.requires_grad_()
    labels = torch.zeros(2, *GRID, dtype=torch.long)
    labels[0] = 255
    loss = scaled_attention_transfer([old], [new], labels)
    loss.backward()
    assert loss == 0
    assert new.query.grad is not None
    assert not new.query.grad.any()


def test_the_old_model_gets_no_gradient() -> None:
    old, new = attention(1), attention(2)
    for tensor in (old.query, old.key, new.query):
        tensor.requires_grad_()
    scaled_attention_transfer([old], [new], labels_of()).backward()
    assert old.query.grad is None
    assert old.key.grad is None


def test_no_map_and_no_row_of_it_is_held() -> None:
    grid = (20, 30)
    old, new = attention(1, grid), attention(2, grid)
    new.query.requires_grad_()
    with watched() as largest:
        scaled_attention_transfer([old], [new], labels_of(3, grid)).backward()
    # Two pictures of two heads, and twice the width of 4: nothing is larger than queries and keys.
    assert largest.entries == 2 * 2 * 600 * 8 < 600 * 600


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="against new"):
        scaled_attention_transfer([attention(1)], [attention(2, (2, 3))], labels_of())
    with pytest.raises(ValueError, match="blocks"):
        scaled_attention_transfer([], [attention(2)], labels_of())
