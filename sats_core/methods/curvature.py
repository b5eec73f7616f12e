"""How much a step's loss minds each weight: Kronecker factors of the Fisher information.

They come of one pass over a step's pictures, by the model as the step left it, and a version keeps
them for the step after it (`sats_core.methods.kfac`).
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sats_core.classes import IGNORE
from sats_core.errors import ModelError
from sats_core.losses import Factors, Total, alone, nearest_sum
from sats_core.methods.finetune import at_size
from sats_core.methods.layers import Layer, layers_of


@dataclass(frozen=True)
class Curvature:
    """Factors of every layer, by the names of `layers_of`.

    They approximate the second derivative of the mean cross-entropy over the labelled pixels of a
    picture, in the mean over the pictures, so that a penalty of weight 1 counts as much as the loss
    of the steps before, to second order. Where pixels are ignored it counts more: `cross_entropy`
    is a mean over all pixels, those that are ignored as 0.
    """

    layers: Mapping[str, Factors]

    @property
    def size(self) -> int:
        """Bytes that they take in a file."""
        return sum(side.numel() * 4 for factors in self.layers.values() for side in factors)

    def merged(self, later: "Curvature", earlier: float = 1.0) -> "Curvature":
        """Return what holds the steps so far and one more: `earlier` x this + the later one.

        The size stays: of each layer it is the nearest product (`nearest_sum`). A layer that one of
        them alone has, the rows of new classes, is taken as it is.

        Args:
            later: of the step.
            earlier: what the steps before it count, 0..1.
        """
        ours = {
            name: Factors(factors.inputs * earlier, factors.outputs)
            for name, factors in self.layers.items()
        }
        both = {
            name: nearest_sum(factors, later.layers[name])
            for name, factors in ours.items()
            if name in later.layers
        }
        return Curvature({**ours, **later.layers, **both})

    def on(self, device: torch.device) -> "Curvature":
        """Return the curvature on a device."""
        moved = {
            name: Factors(*(side.to(device) for side in factors))
            for name, factors in self.layers.items()
        }
        return Curvature(moved)

    def save(self, path: Path) -> None:
        """Write it to a safetensors file, in float32."""
        tensors = {
            f"{name}/{side}": tensor.float().cpu().contiguous()
            for name, factors in self.layers.items()
            for side, tensor in factors._asdict().items()
        }
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path, model: nn.Module) -> "Curvature":
        """Read what `save` wrote.

        Args:
            path: of the file.
            model: that it is of.

        Raises:
            ModelError: it is not of a model like this.
            OSError, SafetensorError: it cannot be read.
        """
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        layers = {}
        known = layers_of(model)
        for name in dict.fromkeys(key.rpartition("/")[0] for key in tensors):
            if name not in known:
                raise ModelError(f"{path.name} has a layer {name!r}, which the model lacks")
            blocks, rows, columns = known[name].weight().shape
            sides = [tensors.get(f"{name}/{side}") for side in Factors._fields]
            wanted = [(blocks, columns, columns), (blocks, rows, rows)]
            if [side.shape if side is not None else None for side in sides] != wanted:
                raise ModelError(f"{path.name} does not fit the model's layer {name!r}")
            layers[name] = Factors(*(side for side in sides if side is not None))
        return cls(layers)


def curvature_of(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    seed: int,
    total: Total = alone,
) -> Curvature:
    """Find the factors in one pass over pictures.

    The Fisher information is that of the model's own prediction: each pixel's label is drawn from
    what the model says of it ("true" Fisher; Kunstner et al., NeurIPS 2019, on why not the label
    that is given). One draw a pixel. Pixels' labels are drawn independently, so the gradient of
    their summed log-likelihood over the root of their number has, in expectation, the mean
    labelled pixel's Fisher information as its second moment.

    Positions of a layer are treated as examples of their own (K-FAC-expand in the words of
    Eschenhagen et al., NeurIPS 2023; KFC of Grosse & Martens, ICML 2016): each pixel has a loss of
    its own here, which is what that is made for. `inputs` is the mean outer product of the layer's
    inputs over all positions, `outputs` that of the gradients of its outputs, summed over a
    picture's positions.

    Args:
        model: from pictures to logits (B, C, h, w). It is left in evaluation mode, in which batch
            norm takes every picture by itself; its weights and their gradients stay.
        batches: normalised pictures (B, 3, H, W) with labels (B, H, W), of which only is read
            which pixels are ignored.
        seed: of the draw.
        total: as in `Finetune.prepare`.

    Returns:
        The factors; of no layer where every pixel is ignored.
    """
    model.eval()
    layers = layers_of(model)
    sums = {name: _Sums(layer) for name, layer in layers.items()}
    device = next(model.parameters()).device
    chance = torch.Generator().manual_seed(seed)
    pictures = torch.zeros((), dtype=torch.float64, device=device)
    with ExitStack() as stack:
        for name, layer in layers.items():
            for handle in layer.watch(sums[name].add):
                stack.callback(handle.remove)
        for shown, labels in batches:
            some = (labels != IGNORE).flatten(1).any(dim=1)
            if some.any():
                _look(model, shown[some], labels[some], chance)
                pictures += some.sum()
    pictures = total(pictures)
    found = {name: each.factors(pictures, total) for name, each in sums.items()}
    return Curvature(found if pictures else {})


class _Sums:
    """A layer's outer products, added up over positions."""

    def __init__(self, layer: Layer) -> None:
        weight = layer.weight().detach()
        blocks, rows, columns = weight.shape
        self.inputs = weight.new_zeros(blocks, columns, columns)
        self.outputs = weight.new_zeros(blocks, rows, rows)
        self.positions = torch.zeros((), dtype=torch.float64, device=weight.device)

    def add(self, inputs: Tensor, gradients: Tensor) -> None:
        """Add inputs (B, P, I) and gradients of the outputs (B, P, O)."""
        self.inputs += inputs.mT @ inputs
        self.outputs += gradients.mT @ gradients
        self.positions += inputs.shape[1]

    def factors(self, pictures: Tensor, total: Total) -> Factors:
        """Return the means of everybody's sums."""
        inputs, outputs, positions = map(total, (self.inputs, self.outputs, self.positions))
        return Factors(
            inputs / positions.clamp(min=1).to(inputs), outputs / pictures.clamp(min=1).to(outputs)
        )


def _look(model: nn.Module, pictures: Tensor, labels: Tensor, chance: torch.Generator) -> None:
    """Make the gradients of one batch, which the layers' watches see."""
    shown = labels != IGNORE
    # A graph to the pictures, and none to the weights: their gradients stay what they are.
    pictures = pictures.detach().clone().requires_grad_()
    with torch.enable_grad(), torch.autocast(pictures.device.type, enabled=False):
        logits = at_size(model(pictures), labels)
        surprise = F.cross_entropy(logits, drawn(logits, chance), reduction="none") * shown
        loss = (surprise.sum(dim=(1, 2)) / shown.sum(dim=(1, 2)).sqrt()).sum()
        torch.autograd.grad(loss, pictures)


@torch.no_grad()
def drawn(logits: Tensor, chance: torch.Generator) -> Tensor:
    """Return labels (B, H, W), each drawn by the probabilities that logits (B, C, H, W) give."""
    below = logits.softmax(dim=1).cumsum(dim=1)
    height = torch.rand(logits[:, :1].shape, generator=chance).to(logits)
    # The last sum may fall short of 1 by a rounding.
    return (below < height).sum(dim=1).clamp(max=logits.shape[1] - 1)
