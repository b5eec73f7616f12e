"""Non-local blocks: every position of a picture takes from every other one.

The block of Wang et al. (Non-local Neural Networks, CVPR 2018): query, key and value are linear in
the features, of half their width together; what attention gathers is brought back to the width and
added. The last layer starts at zero, so that a new block changes nothing.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.losses import QueryKey

ATTENTION_HEADS = 4


class NonLocal(nn.Module, ABC):
    """What the blocks share: all but how attention is made of query and key."""

    def __init__(self, width: int, heads: int = ATTENTION_HEADS) -> None:
        """Build a block for features of `width` channels, with maps for `heads` parts of them.

        Raises:
            ValueError: half the width cannot be divided among the heads.
        """
        super().__init__()
        inner = width // 2
        if inner % heads:
            raise ValueError(f"half of {width} channels cannot be divided among {heads} heads")
        self.heads = heads
        self.project = nn.Linear(width, 3 * inner)
        self.back = nn.Linear(inner, width)
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features (B, H, W, D) with what their positions take from each other."""
        return self._added(pixels, *self._projected(pixels))

    def observe(self, pixels: Tensor) -> tuple[Tensor, QueryKey]:
        """Return the same, and what its attention was made of."""
        query, key, value = self._projected(pixels)
        grid = (pixels.shape[1], pixels.shape[2])
        attention = QueryKey(query, key, self.scale(query), grid)
        return self._added(pixels, query, key, value), attention

    @abstractmethod
    def scale(self, query: Tensor) -> float:
        """Return the factor on the products of a query (B, h, L, d) and the keys."""

    @abstractmethod
    def gathered(self, query: Tensor, key: Tensor, value: Tensor, positions: int) -> Tensor:
        """Return what each position takes from all, (B, h, L, d).

        Args:
            query: (B, h, L, d).
            key: of the same shape.
            value: of the same shape.
            positions: L, read off the features. Off the projections, the exporter would write it
                into the graph as the number that it was for the picture that was traced.
        """

    def _projected(self, pixels: Tensor) -> Any:
        positions = self.project(pixels).flatten(1, 2)
        split = positions.unflatten(-1, (3, self.heads, -1))
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _added(self, pixels: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        positions = pixels.shape[1] * pixels.shape[2]
        taken = self.gathered(query, key, value, positions).transpose(1, 2).flatten(2)
        added: Tensor = pixels + self.back(taken).view(pixels.shape)
        return added


class SoftmaxNonLocal(NonLocal):
    """A = softmax(query key^T / sqrt(d)), as everywhere: what the scaled block is measured against.

    The fused kernel never forms the map, but takes time that grows with the square of L.
    """

    def scale(self, query: Tensor) -> float:
        """See `NonLocal.scale`."""
        return float(query.shape[-1] ** -0.5)

    def gathered(self, query: Tensor, key: Tensor, value: Tensor, positions: int) -> Tensor:
        """See `NonLocal.gathered`."""
        del positions
        return F.scaled_dot_product_attention(query, key, value)


class ScaledNonLocal(NonLocal):
    """A = query key^T / L: a factor in place of softmax.

    After Cho et al., Rethinking Efficacy of Softmax for Lightweight Non-Local Neural Networks (ICIP
    2022, arXiv 2207.13423), of which we had the abstract: the factor 1 / L, L positions, is that of
    Wang et al.'s dot product, and heads and widths are ours. Without softmax the products may be
    taken in either order: query (key^T value) / L is the same to rounding, and takes time and
    memory that grow with L alone.
    """

    def scale(self, query: Tensor) -> float:
        """See `NonLocal.scale`."""
        return 1 / query.shape[2]

    def gathered(self, query: Tensor, key: Tensor, value: Tensor, positions: int) -> Tensor:
        """See `NonLocal.gathered`."""
        # `mT` is nothing that the exporter knows.
        return query @ (key.transpose(-1, -2) @ value / positions)
