"""That torch's compiler stays out of processes that compile nothing, and comes to who asks."""

import subprocess
import sys

import pytest
import torch
from torch.optim import SGD, AdamW

from sats_core.uncompiled import step_uncompiled

WITHOUT_AND_WITH = """
import sys
import torch
import sats_core.training.step
from sats_core.uncompiled import importing

weight = torch.nn.Parameter(torch.ones(2))
for kind in (torch.optim.AdamW, torch.optim.SGD, torch.optim.LBFGS):
    optimizer = kind([weight], lr=0.1)
    optimizer.zero_grad()
    weight.sum().backward()
    optimizer.step(lambda: weight.sum())
    optimizer.load_state_dict(optimizer.state_dict())
loaded = [name for name in sys.modules if name.startswith("torch._dynamo")]
assert not loaded, loaded

with importing():
    import torch._dynamo
    assert torch._dynamo.utils.counters is not None
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert asked("cpu") == torch._dynamo.utils.is_compile_supported("cpu")
assert type(sys.modules["torch._dynamo.utils"]) is type(sys)
assert torch.compiler.disable.__module__ == "torch.compiler"
"""


@pytest.mark.slow
def test_it_is_loaded_by_none_of_what_a_step_needs_and_by_who_asks() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_AND_WITH], check=True)


@pytest.mark.parametrize("kind", [AdamW, SGD])
def test_a_step_has_no_gradient_of_its_own_but_where_it_is_asked_for(
    kind: type[torch.optim.Optimizer],
) -> None:
    step_uncompiled()  # once more is once
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = kind([weight], lr=0.1)  # type: ignore[call-arg]
    weight.sum().backward()
    optimizer.step()
    assert (weight < 1).all()
    assert weight.is_leaf
    assert torch.is_grad_enabled()

    start = torch.ones(2, requires_grad=True)
    learned = start.clone()
    learned.grad = start * 2
    kind([learned], lr=0.1, differentiable=True).step()  # type: ignore[call-arg]
    assert learned.grad_fn is not None
