"""A network's weights as matrices, with what each of them is multiplied with in a pass.

What a Kronecker-factored curvature is made of. A weight that is used at many positions (tokens,
pixels) has a row of its input and a row of its output's gradient at each of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from sats_core.errors import ModelError
from sats_core.models.head import AllMlpHead

Seen = Callable[[Tensor, Tensor], None]
"""Takes inputs (B, P, I) and gradients of the outputs (B, P, O), at P positions."""


class Layer(ABC):
    """Weights in B blocks of (O, I), the bias as a last column whose input is 1."""

    @abstractmethod
    def weight(self) -> Tensor:
        """Return the weights (B, O, I), with their gradient."""

    @abstractmethod
    def watch(self, seen: Seen) -> list[RemovableHandle]:
        """Have `seen` called in every backward pass, until the handles are removed."""


class _OfModule(Layer):
    """Weights that a module holds."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def watch(self, seen: Seen) -> list[RemovableHandle]:
        """See `Layer.watch`."""

        def passed(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            given = args[0].detach()
            output.register_hook(lambda gradient: seen(*self._rows(given, gradient)))

        return [self._module.register_forward_hook(passed)]

    @abstractmethod
    def _rows(self, given: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Seen` takes, of the module's input and the gradient of its output."""


class _Dense(_OfModule):
    """A linear layer: the same matrix at every position."""

    def __init__(self, module: nn.Linear) -> None:
        super().__init__(module)
        self._linear = module

    def weight(self) -> Tensor:
        """See `Layer.weight`."""
        return _joined(self._linear.weight, self._linear.bias)[None]

    def _rows(self, given: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows = given.flatten(0, -2)
        return _with_one(rows, self._linear.bias)[None], gradient.flatten(0, -2)[None]


class _Convolution(_OfModule):
    """A convolution: a linear layer on patches; a 1x1 one on pixels."""

    def __init__(self, module: nn.Conv2d) -> None:
        super().__init__(module)
        self._convolution = module

    def weight(self) -> Tensor:
        """See `Layer.weight`."""
        return _joined(self._convolution.weight.flatten(1), self._convolution.bias)[None]

    def _rows(self, given: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows = _patches(self._convolution, given).mT.flatten(0, 1)
        outputs = gradient.flatten(2).mT.flatten(0, 1)
        return _with_one(rows, self._convolution.bias)[None], outputs[None]


class _DepthWise(_OfModule):
    """A depth-wise convolution: a block for each channel, which has a patch of its own."""

    def __init__(self, module: nn.Conv2d) -> None:
        super().__init__(module)
        self._convolution = module

    def weight(self) -> Tensor:
        """See `Layer.weight`."""
        return _joined(self._convolution.weight.flatten(1), self._convolution.bias)[:, None]

    def _rows(self, given: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        patches = _patches(self._convolution, given)
        channels = patches.unflatten(1, (self._convolution.in_channels, -1))  # (N, C, K, L)
        rows = channels.permute(1, 0, 3, 2).flatten(1, 2)
        outputs = gradient.flatten(2).transpose(0, 1).flatten(1)
        return _with_one(rows, self._convolution.bias), outputs[:, :, None]


class _Norm(_OfModule):
    """Scale and shift of a normalisation: one row (1, 2 D), whose factor is its own Fisher.

    They are too few to need factors. A picture's gradient by them, summed over its positions, takes
    the place of a position's input, and 1 that of its output's gradient: the product is the exact
    mean of the gradients' outer products.
    """

    def __init__(self, module: nn.LayerNorm | nn.BatchNorm2d) -> None:
        super().__init__(module)
        self._norm = module

    def weight(self) -> Tensor:
        """See `Layer.weight`."""
        return torch.cat([self._norm.weight, self._norm.bias])[None, None]

    def _rows(self, given: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        norm = self._norm
        if isinstance(norm, nn.LayerNorm):
            plain = F.layer_norm(given, norm.normalized_shape, eps=norm.eps)
        else:
            plain = F.batch_norm(given, norm.running_mean, norm.running_var, eps=norm.eps)
            plain, gradient = plain.movedim(1, -1), gradient.movedim(1, -1)
        each = torch.cat([gradient * plain, gradient], dim=-1)
        rows = each.flatten(1, -2).sum(dim=1)
        return rows[None], torch.ones_like(rows[None, :, :1])


class _Mixed(Layer):
    """A stage's part of the head: projection and mixing, which are multiplied before they are used.

    Held is the product. What projection and mixing are by themselves makes no difference to what
    the network computes; Lee et al. (CVPR 2020) merge weights for the same reason.
    """

    def __init__(self, head: AllMlpHead, stage: int) -> None:
        self._head = head
        self._stage = stage

    def weight(self) -> Tensor:
        """See `Layer.weight`."""
        part = self._head.mix.weight.split(self._head.width, dim=1)[self._stage]
        project = self._head.get_submodule(f"project.{self._stage}")
        rows = _joined(project.get_parameter("weight"), project.get_parameter("bias"))
        product: Tensor = part @ rows
        return product[None]

    def watch(self, seen: Seen) -> list[RemovableHandle]:
        """See `Layer.watch`."""
        stages: list[Tensor] = []

        def entered(_head: nn.Module, args: tuple[list[Tensor], ...]) -> None:
            stages[:] = [args[0][self._stage].detach()]

        def mixed(_finish: nn.Module, args: tuple[Tensor, ...]) -> None:
            given = stages[0]
            args[0].register_hook(lambda gradient: seen(*_mixed_rows(given, gradient)))

        return [
            self._head.register_forward_pre_hook(entered),
            self._head.finish.register_forward_pre_hook(mixed),
        ]


def _mixed_rows(stage: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a stage (N, I, h, w) and of the gradient (N, O, H, W), brought back to its
    grid from the one that it was interpolated to."""
    with torch.enable_grad():
        size = stage.shape[2:]
        coarse = gradient.new_zeros(*gradient.shape[:2], *size).requires_grad_()
        fine = F.interpolate(coarse, gradient.shape[2:], mode="bilinear", align_corners=False)
        (brought,) = torch.autograd.grad(fine, coarse, gradient)
    rows = stage.movedim(1, -1).flatten(0, -2)
    ones = torch.ones_like(rows[:, :1])
    return torch.cat([rows, ones], dim=1)[None], brought.movedim(1, -1).flatten(0, -2)[None]


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """Return every layer with weights by its name.

    Raises:
        ModelError: weights of a kind that is not known here.
    """
    found: dict[str, Layer] = {}
    for name, module in model.named_modules():
        if isinstance(module, AllMlpHead):
            for stage in range(len(module.project)):
                found[f"{name}.mixed.{stage}"] = _Mixed(module, stage)
    mixed = set(_mixed_modules(model))
    for name, module in model.named_modules():
        if module not in mixed and any(True for _ in module.parameters(recurse=False)):
            found[name] = _layer(name, module)
    return found


def _mixed_modules(model: nn.Module) -> Iterator[nn.Module]:
    for module in model.modules():
        if isinstance(module, AllMlpHead):
            yield from (*module.project, module.mix)


def _layer(name: str, module: nn.Module) -> Layer:
    if isinstance(module, nn.Linear):
        return _Dense(module)
    if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
        return _Norm(module)
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
        if module.groups == 1:
            return _Convolution(module)
        if module.groups == module.in_channels == module.out_channels:
            return _DepthWise(module)
    raise ModelError(f"{name}: no curvature is known of a {type(module).__name__} like this")


def _patches(convolution: nn.Conv2d, given: Tensor) -> Tensor:
    """Return what a convolution multiplies at each place, (N, C K, L)."""
    return F.unfold(
        given,
        convolution.kernel_size,
        convolution.dilation,
        convolution.padding,  # type: ignore[arg-type]  # not the names: `_layer` takes numbers
        convolution.stride,
    )


def _joined(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return weights (O, I) with the bias as a last column, where there is one."""
    return weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)


def _with_one(rows: Tensor, bias: Tensor | None) -> Tensor:
    """Return inputs (..., I) with a last column of ones, where there is a bias."""
    return rows if bias is None else torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1)
