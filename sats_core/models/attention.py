"""Reading a backbone's self-attention without a fork of it.

A forward hook sees the query and key projections of the last block of each stage; the forward
pass itself stays on torch's fused attention kernel, which never forms the map.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from sats_core.errors import ModelError
from sats_core.losses import QueryKey


class StageAttention(ABC):
    """The last self-attention of one stage."""

    @abstractmethod
    def hook(self, projections: dict[str, Tensor]) -> list[Callable[[], None]]:
        """Start writing projections into `projections`; return what stops it."""

    @abstractmethod
    def query_key(self, projections: dict[str, Tensor], grid: tuple[int, int]) -> QueryKey:
        """Shape the projections that one forward pass left."""


class PvtAttention(StageAttention):
    """Spatial-reduction attention of PVTv2: linear layers `q` and `kv`, `num_heads`, `scale`."""

    NEEDS = ("q", "kv", "num_heads", "scale")

    def __init__(self, attention: nn.Module) -> None:
        self.attention = attention
        self.heads: int = attention.num_heads  # type: ignore[assignment]  # Module's attributes
        self.scale: float = attention.scale  # type: ignore[assignment]  # are typed as modules

    def hook(self, projections: dict[str, Tensor]) -> list[Callable[[], None]]:
        """See `StageAttention.hook`."""

        def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
            def write(_module: nn.Module, _args: object, output: Tensor) -> None:
                projections[name] = output

            return write

        return [
            self.attention.get_submodule(name).register_forward_hook(keep(name)).remove
            for name in ("q", "kv")
        ]

    def query_key(self, projections: dict[str, Tensor], grid: tuple[int, int]) -> QueryKey:
        """See `StageAttention.query_key`; query (B, L, h d) and key-value (B, K, 2 h d)."""
        query, key_value = projections["q"], projections["kv"]
        batch, queries, _ = query.shape
        query = query.view(batch, queries, self.heads, -1).transpose(1, 2)
        key_value = key_value.view(batch, key_value.shape[1], 2, self.heads, -1)
        return QueryKey(query, key_value[:, :, 0].transpose(1, 2), self.scale, grid)


ADAPTERS = {"PyramidVisionTransformerV2": PvtAttention}
"""Backbone class -> how its attention is read. timm's other families are not adapted yet."""


def stage_attentions(backbone: nn.Module, name: str) -> list[StageAttention]:
    """Return the adapter of each stage's last block.

    Raises:
        ModelError: the backbone has no stages, or no softmax self-attention we can read; the
            message names what is missing.
    """
    adapter = ADAPTERS.get(type(backbone).__name__)
    if adapter is None:
        raise ModelError(
            f"backbone {name!r}: no adapter reads the self-attention of its class "
            f"{type(backbone).__name__}; adapted: {', '.join(sorted(ADAPTERS))} (pvt_v2_*)"
        )
    return [adapter(_last_attention(stage, name, i)) for i, stage in enumerate(_stages(backbone))]


def _stages(backbone: nn.Module) -> Iterator[nn.Module]:
    return backbone.get_submodule("stages").children()


def _last_attention(stage: nn.Module, name: str, number: int) -> nn.Module:
    blocks = list(stage.get_submodule("blocks").children())
    attention = blocks[-1].get_submodule("attn")
    for need in PvtAttention.NEEDS:
        if not hasattr(attention, need):
            raise ModelError(f"backbone {name!r}: attention of stage {number + 1} has no {need!r}")
    return attention


class AttentionTap:
    """Hands out the attention of the forward passes that run while it is open."""

    def __init__(self, stages: list[StageAttention]) -> None:
        self._stages = stages
        self._projections: list[dict[str, Tensor]] = [{} for _ in stages]

    def read(self, grids: list[tuple[int, int]]) -> list[QueryKey]:
        """Return each stage's query and key from the last forward pass, and forget them.

        Args:
            grids: (H_s, W_s) of each stage's output.
        """
        attention = [
            stage.query_key(projections, grid)
            for stage, projections, grid in zip(self._stages, self._projections, grids, strict=True)
        ]
        for projections in self._projections:
            projections.clear()
        return attention

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep the projections of the forward passes inside the `with` block."""
        stops = [
            stop
            for stage, projections in zip(self._stages, self._projections, strict=True)
            for stop in stage.hook(projections)
        ]
        try:
            yield
        finally:
            for stop in stops:
                stop()
