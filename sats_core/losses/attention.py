"""Self-attention transfer (SATS, Qiu et al., Pattern Recognition 2023, section 3.3)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import BACKGROUND, IGNORE

CHUNK_ENTRIES = 2**20
"""Attention entries held at once while rows are pooled: 4 MiB in float32, about a core's cache."""
ACCELERATOR_CHUNK_ENTRIES = 2**24
"""The same on an accelerator, where a smaller chunk takes longer to launch than to compute."""


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


def _stage_distance(old: QueryKey, new: QueryKey, labels: Tensor, ignore_index: int) -> Tensor:
    if old.query.shape != new.query.shape or old.key.shape != new.key.shape:
        raise ValueError(
            f"old attention {tuple(old.query.shape)} x {tuple(old.key.shape)} against new "
            f"{tuple(new.query.shape)} x {tuple(new.key.shape)}"
        )
    regions, present = class_regions(labels, new.grid, ignore_index)
    with torch.no_grad():
        target = pooled_attention(old, regions, present.shape[1])
    pooled = pooled_attention(new, regions, present.shape[1])
    distance: Tensor = torch.linalg.vector_norm(pooled - target, dim=-1).mean(dim=1)  # (B, R)
    shares = present.to(distance.dtype) / present.sum(dim=1, keepdim=True).clamp(min=1)
    return (distance * shares).sum(dim=1).mean()


def class_regions(
    labels: Tensor, grid: tuple[int, int], ignore_index: int = IGNORE
) -> tuple[Tensor, Tensor]:
    """Bring labels to a stage's grid and number the classes that the batch shows.

    Args:
        labels: (B, H, W) integer classes.
        grid: (H_s, W_s).
        ignore_index: label that belongs to no class.

    Returns:
        `regions` (B, L) int64: number of each query's region, R where it has none, and
        `present` (B, R) bool: which regions each picture shows.
    """
    small = _at_grid(labels, grid).flatten(1)
    classes, numbers = torch.unique(small, return_inverse=True)
    counted = (classes != BACKGROUND) & (classes != ignore_index)
    count = int(counted.sum())
    regions = torch.where(counted, counted.cumsum(0) - 1, count)[numbers]
    present = torch.zeros(len(labels), count + 1, dtype=torch.bool, device=labels.device)
    return regions, present.scatter_(1, regions, True)[:, :count]


def _at_grid(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return labels (B, *grid) as they are at the centres of the grid's pixels."""
    ys, xs = (
        (2 * torch.arange(small, device=labels.device) + 1) * size // (2 * small)
        for small, size in zip(grid, labels.shape[1:], strict=True)
    )
    return labels[:, ys[:, None], xs]


def pooled_attention(attention: QueryKey, regions: Tensor, count: int) -> Tensor:
    """Return the mean of A's rows over each region, without ever holding A.

    Args:
        attention: query (B, h, L, d) and key (B, h, K, d).
        regions: (B, L) region of each query, `count` where it has none.
        count: number of regions R.

    Returns:
        (B, h, R, K); a region that a picture does not show is a row of zeros.
    """
    # Products and exponentials of half-precision queries would lose what is compared here.
    dtype = torch.promote_types(attention.query.dtype, torch.float32)
    with torch.autocast(attention.query.device.type, enabled=False):
        pooled: Tensor = _PooledRows.apply(  # type: ignore[no-untyped-call]  # torch's own gap
            attention.query.to(dtype), attention.key.to(dtype), attention.scale, regions, count
        )
    return pooled


class _PooledRows(torch.autograd.Function):
    """Pool softmax rows by region in chunks of queries; the backward pass makes them again."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, scale: float, regions: Tensor, count: int
    ) -> Tensor:
        images, heads, _, keys = *query.shape[:3], key.shape[2]
        slots, shares = _slots(regions, count, query)
        query, scaled = query.flatten(0, 1), key.flatten(0, 1) * scale
        # One region more: what belongs to none goes there, and is left behind.
        pooled = query.new_zeros(images * heads * (count + 1), keys)
        parts = _chunks(query, scaled)
        for part in parts:
            rows = _rows(query, scaled, part)
            pooled.index_add_(0, slots[part].flatten(), rows.view(-1, keys))
        # A map that is one chunk need not be made again.
        ctx.save_for_backward(query, scaled, slots, shares, rows if len(parts) == 1 else None)
        ctx.scale = scale
        return pooled.view(images, heads, count + 1, keys)[:, :, :count] * shares

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, scaled, slots, shares, kept = ctx.saved_tensors
        grad = F.pad(grads[0] * shares, (0, 0, 0, 1)).flatten(0, 2)
        grad_query, grad_scaled = torch.empty_like(query), torch.zeros_like(scaled)
        for part in _chunks(query, scaled):
            rows = _rows(query, scaled, part) if kept is None else kept
            # The softmax's backward: s * (g - <s, g>), row by row.
            grad_logits = grad.index_select(0, slots[part].flatten()).view_as(rows).mul_(rows)
            grad_logits.addcmul_(rows, grad_logits.sum(-1, keepdim=True), value=-1)
            maps, _queries = part
            grad_query[part] = grad_logits @ scaled[maps]
            grad_scaled[maps].baddbmm_(grad_logits.mT, query[part])
        split = grads[0].shape[:2]
        grad_key = grad_scaled.mul_(ctx.scale).unflatten(0, split)
        return grad_query.unflatten(0, split), grad_key, None, None, None


def _rows(query: Tensor, scaled: Tensor, part: tuple[slice, slice]) -> Tensor:
    """Return A's rows of one chunk, (maps, queries, K)."""
    return torch.softmax(query[part] @ scaled[part[0]].mT, dim=-1)


def _slots(regions: Tensor, count: int, query: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each query's row goes, and what each region's sum is to be multiplied by.

    Returns:
        Number of the region among those of all maps, a map for each picture and head,
        (B h, L) int64, and 1 / size of each region, (B, 1, R, 1).
    """
    images, heads = query.shape[:2]
    sizes = query.new_zeros(images, count + 1)
    sizes.scatter_add_(1, regions, torch.ones_like(regions, dtype=query.dtype))
    shares = 1 / sizes[:, None, :count, None].clamp(min=1)
    maps = torch.arange(images * heads, device=regions.device).view(images, heads, 1)
    return (maps * (count + 1) + regions[:, None]).flatten(0, 1), shares


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
