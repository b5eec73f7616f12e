"""Self-attention transfer where attention is scaled and has no softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.losses.attention import QueryKey, check_alike, class_regions


def scaled_attention_transfer(
    old: Sequence[QueryKey], new: Sequence[QueryKey], labels: Tensor, ignore_index: int = IGNORE
) -> Tensor:
    """Return how far attention A = query key^T * scale, pooled by class region, has moved.

    The distance is that of SATS (`attention_transfer`), a block counting as one of its stages: the
    mean of A's rows over a class's pixels, the L2 distance of new and old, mean over heads,
    classes present and batch; the sum over blocks / 4. Only A is another one (Cho et al., arXiv
    2207.13423, see `sats_core.models.nonlocal_block`). Without softmax a mean of rows is the
    mean query's row, and its norm is had from keys' products of (d, d): neither A nor a row of it
    is ever formed, and time and memory grow with L alone. The result is exact.

    Args:
        old: the frozen model's attention, a block each; gets no gradient.
        new: the trained model's, block by block of the same shapes.
        labels: as in `attention_transfer`.
        ignore_index: label that belongs to no class.

    Returns:
        A scalar, in float32 at least; 0 where there are no blocks.

    Raises:
        ValueError: `old` and `new` differ in number of blocks or in shape.
    """
    if len(old) != len(new):
        raise ValueError(f"{len(old)} old blocks against {len(new)} new ones")
    total = torch.zeros((), device=labels.device)
    for was, now in zip(old, new, strict=True):
        total = total + _block_distance(was, now, labels, ignore_index) / 4
    return total


def _block_distance(old: QueryKey, new: QueryKey, labels: Tensor, ignore_index: int) -> Tensor:
    check_alike(old, new)
    dtype = torch.promote_types(new.query.dtype, torch.float32)
    regions = class_regions(labels, new, ignore_index)
    images, heads, _, width = new.query.shape
    weights = regions.weights.to(dtype)
    with torch.autocast(labels.device.type, enabled=False):
        was, now = (_scaled(a, dtype) for a in (old._replace(query=old.query.detach()), new))
        key, moved = now.key, now.key - was.key.detach()
        queries = torch.cat([now.query - was.query, was.query], dim=-1)
        sums = queries.new_zeros(images * heads * weights.shape[1], 2 * width)
        sums = sums.index_add(0, regions.slots.flatten(), queries.flatten(0, 2))
        sums = sums.view(images, heads, -1, 2 * width)
        # q k^T - q' k'^T = (q - q') k^T + q' (k - k')^T: where little has moved both parts are
        # small, and no two large numbers are subtracted.
        keys = torch.cat([key, moved], dim=-1)
        squares = ((sums @ (keys.mT @ keys)) * sums).sum(dim=-1)
        some = squares > 0
        norms = torch.where(some, squares.where(some, 1).sqrt(), 0)  # no gradient where none moved
        return (norms * weights[:, None]).sum()


def _scaled(attention: QueryKey, dtype: torch.dtype) -> QueryKey:
    query = attention.query.to(dtype) * attention.scale
    return attention._replace(query=query, key=attention.key.to(dtype))
