"""torch without its compiler, for whom nothing here asks.

To import torchvision, timm or the first use of an optimiser brings `torch._dynamo` along: nearly
half of the processor time that a training process takes before it does anything (2 of 4.7 s), for
marks that a compiler would read. They are set without it here; whoever does compile
(`torch.compile`) still loads it then, and finds every mark but those of the optimisers' steps,
which are no part of what is compiled.

All of this is a matter of speed alone: where another torch is built otherwise, its compiler is
loaded again, and everything works as before.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch._compile import _disable_dynamo
from torch.optim import SGD, Adam, Optimizer

UTILS = "torch._dynamo.utils"
MARK = "__dynamo_disable"
"""Where torch keeps what stands for a function that is not to be compiled, once it was called."""
MARKED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
STEPPING = (Adam, SGD)
"""And what is made of them: AdamW."""


class _Utils(ModuleType):
    """Stands for the compiler's `utils` while others are imported; loads it for all but this."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Ask the real one."""
        supported: bool = import_module(UTILS).is_compile_supported(device_type)
        return supported

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(UTILS) is self:
            del sys.modules[UTILS]
        return getattr(import_module(UTILS), name)


@contextmanager
def importing() -> Iterator[None]:
    """Import in the block what marks functions for the compiler, without loading that."""
    if UTILS in sys.modules:
        yield
        return
    disable = torch.compiler.disable

    def mark(fn: Any = None, recursive: bool = True, **_reason: Any) -> Any:
        return _disable_dynamo(fn, recursive)

    stand_in = sys.modules[UTILS] = _Utils(UTILS)
    torch.compiler.disable = mark
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules.get(UTILS) is stand_in:
            del sys.modules[UTILS]


def step_uncompiled() -> None:
    """Let optimisers step without a look at the compiler."""
    for name in MARKED:
        function = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if function is not None and not hasattr(function, MARK):
            setattr(function, MARK, function)
    for kind in STEPPING:
        # As it was but for two calls that tell a compiler to look away.
        kind.step = _step(inspect.unwrap(kind.step))  # type: ignore[method-assign]


def _step(inner: Callable[..., Any]) -> Any:
    @wraps(inner)
    def step(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return inner(self, *args, **kwargs)

    return step
