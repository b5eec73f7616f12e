"""Batch norm over the pictures of all ranks.

`torch.nn.SyncBatchNorm` does this on accelerators and refuses a processor, where nothing that it
is part of could be tried then. A model here has one such norm, in its head; that it is not fused
costs little.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def total_of(tensor: Tensor) -> Tensor:
    """Return the sum of all ranks' tensors; no gradient goes through it."""
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total


def share_batch_norm(model: nn.Module) -> None:
    """Let every batch norm that learns statistics take them from all ranks' pictures.

    Weights and statistics stay the very same tensors. A norm that is frozen stays as it is.
    """
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            if type(norm) is nn.BatchNorm2d:
                shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum)
                shared._parameters, shared._buffers = norm._parameters, norm._buffers
                setattr(parent, name, shared.train(norm.training))


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics in training are those of all ranks' pictures together."""

    def forward(self, input: Tensor) -> Tensor:
        """Return normalised features (B, C, H, W), in their own dtype."""
        if not self.training:
            return super().forward(input)
        features = input.float()
        count = torch.full((1,), features[:, 0].numel(), device=features.device)
        totals = _Total.apply(torch.cat([features.sum((0, 2, 3)), count]))  # type: ignore[no-untyped-call]
        mean, count = totals[:-1] / totals[-1], totals[-1].detach()
        centred = features - mean[:, None, None]
        squares = _Total.apply(centred.square().sum((0, 2, 3)))  # type: ignore[no-untyped-call]
        self._follow(mean.detach(), squares.detach() / (count - 1))
        scale = self.weight * (squares / count + self.eps).rsqrt()
        shown: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return shown.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as `nn.BatchNorm2d` does."""
        momentum = 0.1 if self.momentum is None else self.momentum
        if self.running_mean is None or self.running_var is None:
            return
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _Total(torch.autograd.Function):
    """A sum over ranks; what any rank's loss owes to it, every rank's summand does."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        del ctx
        return total_of(tensor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        del ctx
        return total_of(grad)
