"""A quadratic penalty with Kronecker-factored curvature (Lee et al., CVPR 2020).

arXiv 2004.07507; the penalty by K-FAC itself is Ritter et al.'s, NeurIPS 2018.
"""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from sats_core.losses import Total, alone, kronecker_penalty
from sats_core.method_settings import KfacSettings
from sats_core.methods.curvature import Curvature, curvature_of
from sats_core.methods.finetune import at_size
from sats_core.methods.layers import layers_of
from sats_core.methods.supervised import Supervised
from sats_core.models import Segmenter

SEED = 0
"""Of labels drawn where the version before keeps no curvature; everybody's pictures are others'."""


class Kfac(Supervised):
    """Cross-entropy + weight / 2 x (w - w0)^T F (w - w0), F the Fisher information before the step.

    w0 are the weights that the step starts with: those of the version before, its background
    lowered by the balanced start. New rows are held by nothing. F is a Kronecker product for each
    linear layer, convolution and part of the head, and one for each channel of a depth-wise
    convolution (`curvature_of`); `damping` is added to its diagonal (the paper centres its weight
    decay on w0). After several steps it is the nearest product to the sum (`Curvature.merged`).

    Normalisation layers are treated as they are. K-FAC does not hold where examples depend on each
    other, as under batch norm in training mode: the paper extends it by what one example does to
    another's gradient. Here that term is zero. Layer norm takes every token by itself; the head's
    batch norm keeps its statistics after the base step (`Segmenter.train_step`), which makes it an
    affine function of one picture, and the factors are found in that mode. What remains are the
    scale and shift of each, which get their exact Fisher information over the pictures, without
    factors (`layers._Norm`).

    A penalty on weights does not know that a step's labels call old classes background. MiB
    (Cermelli et al., CVPR 2020) has such penalties (EWC, PI, RW) among its baselines; here the
    cross-entropy that goes with one is by default MiB's own, under which background is "background
    or any old class", so that what is measured is the penalty. `plain` leaves that out.

    Left out: the paper's merging of batch norm's statistics into weights, which have to stay what
    they are here, and its choice of hyperparameters without the old data: they are settings.
    """

    settings: KfacSettings

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: KfacSettings) -> None:
        """See `WithTeacher`; the model as the step starts with it."""
        super().__init__(model, old, settings)
        self._kept, self._curvature = False, Curvature({})
        self._start = {
            name: layer.weight().detach().clone() for name, layer in layers_of(model).items()
        }

    def recall(self, curvature: Curvature | None) -> None:
        """See `Method.recall`; without any `prepare` finds one."""
        if curvature is not None:
            device = next(self.model.parameters()).device
            self._kept, self._curvature = True, curvature.on(device)

    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]], total: Total = alone) -> None:
        """Where the version before keeps no curvature, find it on the step's own pictures.

        The labels are drawn from the old model's prediction, so that it takes none that is given.
        Pictures of the old classes would be better: the new ones show little of them. They are the
        first that come, not spread over all: pictures come by size, so of a step with more than
        `pictures` of several sizes, some sizes may not be looked at.
        """
        if not self._kept:
            some = first(batches, self.settings.pictures)
            self._curvature = curvature_of(self.teacher, some, SEED, total)

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`."""
        logits = at_size(self.model(pictures), labels)
        return {
            "cross_entropy": self.supervised(logits, labels),
            "curvature": self.settings.weight * self._penalty(),
        }

    def _penalty(self) -> Tensor:
        """Return what the weights have moved by, as the curvature counts it."""
        device = next(self.model.parameters()).device
        whole = torch.zeros((), device=device)
        layers = layers_of(self.model)
        # Curvatures are small and moves smaller: half precision would lose them.
        with torch.autocast(device.type, enabled=False):
            for name, factors in self._curvature.layers.items():
                change = layers[name].weight() - self._start[name]
                whole = whole + kronecker_penalty(change, factors)
                whole = whole + self.settings.damping / 2 * change.square().sum()
        return whole


def first(batches: Iterable[tuple[Tensor, Tensor]], most: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches until they have `most` pictures, the last one whole."""
    seen = 0
    for pictures, labels in batches:
        if seen >= most:
            return
        yield pictures, labels
        seen += len(pictures)
