"""How large the largest tensor is that a computation makes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Largest(TorchDispatchMode):
    """Remembers it, in numbers, `entries`."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.entries = max([self.entries, *sizes])
        return out


@contextmanager
def watched() -> Iterator[Largest]:
    """Watch what is computed in the `with` block, the backward pass too."""
    with Largest() as found:
        yield found
