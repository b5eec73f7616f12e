"""Reading a backbone's self-attention without a fork of it.

A forward hook sees the query and key projections of the last block of each stage; the forward
pass itself stays on torch's fused attention kernel, which never forms the map. Hooks are set once,
when the model is built: setting them around every pass would make a compiled model compile anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from sats_core.errors import ModelError
from sats_core.losses import QueryKey


class Projections:
    """What a stage's forward pass leaves while somebody wants it.

    Attributes:
        wanted: whether the pass that runs is observed.
        tensors: by the name of the layer that made them.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.tensors: dict[str, Tensor] = {}


class _Keep:
    """A forward hook; an object, so that a copied model's hooks write to the copy's projections."""

    def __init__(self, projections: Projections, name: str) -> None:
        self._projections = projections
        self._name = name

    def __call__(self, _module: nn.Module, _args: object, output: Tensor) -> None:
        if self._projections.wanted:
            self._projections.tensors[self._name] = output


class StageAttention(ABC):
    """The last self-attention of one stage."""

    def __init__(self) -> None:
        self.projections = Projections()

    @abstractmethod
    def query_key(self, grid: tuple[int, int]) -> QueryKey:
        """Shape the projections that one forward pass left, queries on a grid of (H_s, W_s)."""


class PvtAttention(StageAttention):
    """Spatial-reduction attention of PVTv2: linear layers `q` and `kv`, `num_heads`, `scale`."""

    NEEDS = ("q", "kv", "num_heads", "scale")

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.heads: int = attention.num_heads  # type: ignore[assignment]  # Module's attributes
        self.scale: float = attention.scale  # type: ignore[assignment]  # are typed as modules

        for name in ("q", "kv"):
            attention.get_submodule(name).register_forward_hook(_Keep(self.projections, name))

    def query_key(self, grid: tuple[int, int]) -> QueryKey:
        """See `StageAttention.query_key`; query (B, L, h d) and key-value (B, K, 2 h d)."""
        query, key_value = (self.projections.tensors[name] for name in ("q", "kv"))
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

    def read(self, grids: list[tuple[int, int]]) -> list[QueryKey]:
        """Return each stage's query and key from the last forward pass, and forget them.

        Args:
            grids: (H_s, W_s) of each stage's output.
        """
        attention = [stage.query_key(grid) for stage, grid in zip(self._stages, grids, strict=True)]
        self._forget()
        return attention

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep the projections of the forward passes inside the `with` block."""
        self._want(True)
        try:
            yield
        finally:
            self._want(False)
            self._forget()

    def _want(self, wanted: bool) -> None:
        for stage in self._stages:
            stage.projections.wanted = wanted

    def _forget(self) -> None:
        for stage in self._stages:
            stage.projections.tensors.clear()
