"""Self-attention transfer (SATS, Qiu et al., Pattern Recognition 2023, section 3.3)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE

CHUNK_ENTRIES = 2**20
"""Attention entries held at once while rows are pooled: 4 MiB in float32, about a core's cache."""
ACCELERATOR_CHUNK_ENTRIES = 2**24
"""The same on an accelerator, where a smaller chunk takes longer to launch than to compute."""

LABEL_VALUES = IGNORE + 1

KEPT_CHUNKS = 4
"""Chunks that wait for the backward pass: a small map is not made twice, a large one is bounded."""


class QueryKey(NamedTuple):
    """What attention is made of: A = softmax(query key^T * scale), never formed as a whole.

    Attributes:
        query: (B, h, L, d) with L = H_s * W_s, rows of the grid first.
        key: (B, h, K, d).
        scale: factor on the products.
        grid: (H_s, W_s), the stage's grid of queries.
    """

    query: Tensor
    key: Tensor
    scale: float
    grid: tuple[int, int]


def attention_transfer(
    old: Sequence[QueryKey], new: Sequence[QueryKey], labels: Tensor, ignore_index: int = IGNORE
) -> Tensor:
    """Return how far the new model's attention, pooled by class region, is from the old one's.

    For every class present other than background and `ignore_index`: the mean of A's rows over
    the class's pixels; the L2 distance of new and old; mean over heads, over the classes present,
    over the batch (a picture without such a class counts 0); sum over stages / 4.

    Args:
        old: the frozen model's attention, one per stage; gets no gradient.
        new: the trained model's, stage by stage of the same shapes.
        labels: (B, H, W) integer classes at picture size, pseudo-labels filled in; brought to
            each stage's grid by nearest neighbour at pixel centres.
        ignore_index: label that belongs to no class.

    Returns:
        A scalar in the queries' dtype, float32 at least.

    Raises:
        ValueError: `old` and `new` differ in number of stages or in shape.
    """
    if len(old) != len(new) or not new:
        raise ValueError(f"{len(old)} old stages against {len(new)} new ones")
    terms = [
        _stage_distance(was, now, labels, ignore_index) for was, now in zip(old, new, strict=True)
    ]
    # The sum is divided by the paper's four stages, however many a backbone has.
    return torch.stack(terms).sum() / 4


def check_alike(old: QueryKey, new: QueryKey) -> None:
    """Check that two attentions can be compared.

    Raises:
        ValueError: queries or keys differ in shape.
    """
    if old.query.shape != new.query.shape or old.key.shape != new.key.shape:
        raise ValueError(
            f"old attention {tuple(old.query.shape)} x {tuple(old.key.shape)} against new "
            f"{tuple(new.query.shape)} x {tuple(new.key.shape)}"
        )


def _stage_distance(old: QueryKey, new: QueryKey, labels: Tensor, ignore_index: int) -> Tensor:
    check_alike(old, new)
    dtype = torch.promote_types(new.query.dtype, torch.float32)
    regions = class_regions(labels, new, ignore_index)
    tensors = [t.to(dtype) for t in (old.query, old.key, new.query, new.key)]
    # Products and exponentials in half precision would lose what is compared here.
    with torch.autocast(labels.device.type, enabled=False):
        distance: Tensor = _PooledDistance.apply(  # type: ignore[no-untyped-call]  # torch's gap
            *tensors, old.scale, new.scale, regions.slots, regions.weights.to(dtype)
        )
    return distance


class Regions(NamedTuple):
    """By which regions the rows of the maps are pooled; there is a map for each picture and head.

    Attributes:
        slots: (B h, L) int64, each row's region among the B h (R + 1) of all maps; the last one of
            each map takes the rows of no class.
        weights: (B, R + 1) float64, what the norm of a region's sum counts in the whole.
    """

    slots: Tensor
    weights: Tensor


def class_regions(labels: Tensor, attention: QueryKey, ignore_index: int = IGNORE) -> Regions:
    """Return the regions that the classes of a batch make on the grid of a stage's queries."""
    small = _at_grid(labels, attention.grid).flatten(1)
    images, heads = attention.query.shape[:2]
    sizes = small.new_zeros(images, max(LABEL_VALUES, ignore_index + 1))
    sizes.scatter_add_(1, small, torch.ones_like(small))
    sizes[:, BACKGROUND] = 0
    sizes[:, ignore_index] = 0
    number = regions_present if small.device.type == "cpu" else regions_of_every_value
    regions, sizes = number(small, sizes)
    count = sizes.shape[1]
    # Mean over a region's rows, over heads, over the classes present, over the batch.
    present = sizes > 0
    shared = sizes * present.sum(dim=1, keepdim=True) * (heads * images)
    weights = F.pad(present.double() / shared.clamp(min=1), (0, 1))
    maps = torch.arange(images * heads, device=labels.device).view(images, heads, 1)
    slots = torch.add(regions[:, None], maps, alpha=count + 1).flatten(0, 1)
    return Regions(slots, weights)


def regions_of_every_value(small: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return each pixel's region (B, L), one for every label value, and the regions' sizes (B, R).

    What belongs to no region has the number R. For accelerators: how many values there are is not
    known without waiting for one.
    """
    here = sizes.gather(1, small) > 0
    return torch.where(here, small, sizes.shape[1]), sizes


def regions_present(small: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same with regions for the R values that are there: less to pool."""
    classes = sizes.any(dim=0).nonzero().squeeze(1)
    count = len(classes)
    numbers = sizes.new_full(sizes.shape[1:], count)
    numbers[classes] = torch.arange(count, device=numbers.device)
    return numbers.take(small), sizes[:, classes]


def _at_grid(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return labels (B, *grid) as they are at the centres of the grid's pixels."""
    height, width = labels.shape[1:]
    down, right = height // grid[0], width // grid[1]
    if (grid[0] * down, grid[1] * right) == (height, width):
        return labels[:, down // 2 :: down, right // 2 :: right].long()
    ys, xs = (
        (2 * torch.arange(small, device=labels.device) + 1) * size // (2 * small)
        for small, size in zip(grid, (height, width), strict=True)
    )
    return labels[:, ys[:, None], xs].long()


class _PooledDistance(torch.autograd.Function):
    """Pool the change of softmax rows by region, chunk by chunk, and weigh the pooled norms.

    No map is held as a whole: the backward pass makes the new one's rows again, but for the first
    few chunks.
    """

    @staticmethod
    def forward(
        ctx: Any,
        old_query: Tensor,
        old_key: Tensor,
        query: Tensor,
        key: Tensor,
        old_scale: float,
        scale: float,
        slots: Tensor,
        weights: Tensor,
    ) -> Tensor:
        images, heads, keys, _ = key.shape
        old_query, old_scaled = old_query.flatten(0, 1), old_key.flatten(0, 1) * old_scale
        query, scaled = query.flatten(0, 1), key.flatten(0, 1) * scale
        sums = query.new_zeros(images, heads, weights.shape[1], keys)
        kept: list[Tensor] = []
        for part in _chunks(query, scaled):
            rows = _rows(query, scaled, part)
            if len(kept) < KEPT_CHUNKS:
                kept.append(rows)
            change = _rows(old_query, old_scaled, part)
            torch.sub(rows, change, out=change)
            sums.view(-1, keys).index_add_(0, slots[part].flatten(), change.view(-1, keys))
        norms = torch.linalg.vector_norm(sums, dim=-1, keepdim=True)
        weights = weights[:, None, :, None]
        # The gradient that each row gets; where nothing changed the sum is 0, and so is this.
        pull = sums.mul_(weights / norms.clamp(min=1e-30))
        ctx.save_for_backward(query, scaled, slots, pull, *kept)
        ctx.scale, ctx.split = scale, (images, heads)
        distance: Tensor = (norms * weights).sum()
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, scaled, slots, pull, *kept = ctx.saved_tensors
        pull = (pull * grad).flatten(0, 2)
        grad_query, grad_key = torch.empty_like(query), torch.zeros_like(scaled)
        for number, part in enumerate(_chunks(query, scaled)):
            rows = kept[number] if number < len(kept) else _rows(query, scaled, part)
            grad_rows = pull.index_select(0, slots[part].flatten()).view_as(rows)
            # What autograd calls for a softmax: s * (g - <s, g>) in one pass over the rows.
            grad_logits = torch._softmax_backward_data(grad_rows, rows, -1, rows.dtype)
            maps = part[0]
            torch.bmm(grad_logits, scaled[maps], out=grad_query[part])
            grad_key[maps].baddbmm_(grad_logits.mT, query[part], alpha=ctx.scale)
        grads = tuple(g.unflatten(0, ctx.split) for g in (grad_query, grad_key))
        return None, None, *grads, None, None, None, None


def _rows(query: Tensor, scaled: Tensor, part: tuple[slice, slice]) -> Tensor:
    """Return A's rows of one chunk, (maps, queries, K)."""
    rows: Tensor = torch.softmax(query[part] @ scaled[part[0]].mT, dim=-1)
    return rows


def _chunks(query: Tensor, key: Tensor) -> list[tuple[slice, slice]]:
    """Return the chunks, each some maps and some queries: as many of one map's as may be."""
    entries = CHUNK_ENTRIES if query.device.type == "cpu" else ACCELERATOR_CHUNK_ENTRIES
    (maps, queries, _), keys = query.shape, key.shape[1]
    length = min(queries, max(1, entries // keys))
    group = max(1, entries // (length * keys))
    return [
        (slice(first, first + group), slice(start, start + length))
        for first in range(0, maps, group)
        for start in range(0, queries, length)
    ]
