"""Units beside the head's features, learned for new classes that these do not tell apart.

Rows can only weigh what the head gives, and it was taught to tell the classes of its base step
apart. A unit reads what all stages of the frozen backbone give, so it can look for what the head
dropped. Old rows do not mind it: what was known stays as it is (after progressive networks' new
columns, Rusu et al., 2016, of one layer).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.method_settings import FrozenSettings
from sats_core.methods.fits import LEAST_SHARE, Standard
from sats_core.methods.rows import NewRows
from sats_core.methods.sampling import PixelSample
from sats_core.models import GrowingClassifier

ITERATIONS = 40
"""Most steps of L-BFGS that units are learned in; 60 came to the same in new classes' IoU."""
FIRST_READING = 0.05
"""Deviation of what rows start to make of units: units that nobody minds learn nothing."""


class Units(NamedTuple):
    """What units compute: relu(weight s + bias), s what all stages give.

    Attributes:
        weight: (K, S) float32.
        bias: (K,) float32.
    """

    weight: Tensor
    bias: Tensor

    def beside(self, features: Tensor, stages: Tensor) -> Tensor:
        """Return features (P, D + K) of a head with the units, of stages (P, S).

        At a pixel between the points of the head's grid it is nearly what that head gives there:
        the head reads its units between their points, where relu has been already.
        """
        return torch.cat([features, F.linear(stages, self.weight, self.bias).relu()], dim=1)


def learn_units(
    sample: PixelSample,
    before: GrowingClassifier,
    new: int,
    settings: FrozenSettings,
    seed: int,
    check: Callable[[], None],
) -> Units:
    """Learn units together with the new rows that mind them, on the loss of `solve_rows`.

    The rows are for solving again, as any on features: the problem is not convex with units, and
    its search ends after `ITERATIONS`.

    Args:
        sample: P pixels, channels as kinds, with stages.
        before: the classifier before the step, which reads the features.
        new: number of new rows.
        settings: of the method; `units` says how many.
        seed: of what the units start from.
        check: called before every evaluation; what it raises ends the fit.

    Raises:
        DivergedError: the loss or its gradient is not finite, at the start or anywhere on the way.
        ValueError: the sample has no stages.
    """
    if sample.stages is None:
        raise ValueError("units read what the stages give")
    fit = _UnitFit(sample, sample.stages, before.logits(sample.features), new, settings, seed)
    most = min(ITERATIONS, settings.iterations)
    fit.solve(settings.model_copy(update={"iterations": most}), check)
    return fit.units()


class _UnitFit(NewRows):
    def __init__(
        self,
        sample: PixelSample,
        stages: Tensor,
        old_logits: Tensor,
        new: int,
        settings: FrozenSettings,
        seed: int,
    ) -> None:
        super().__init__(sample, old_logits, new, settings)
        chance = torch.Generator().manual_seed(seed)
        self._seen = Standard.of(stages, self.weights)
        # The one large product of the search; half of the time in single precision.
        self._stages = self._seen.inputs(stages).float()
        inputs, units = len(self._stages), settings.units
        first = torch.randn(units, inputs, generator=chance) / (inputs - 1) ** 0.5
        first[:, -1] = 0
        reads = FIRST_READING * torch.randn(1 + new, units, generator=chance)
        self._units = first.to(self.rows).requires_grad_()
        self._reads = reads.to(self.rows).requires_grad_()

    def learned(self) -> list[Tensor]:
        """See `Fit.learned`."""
        return [*super().learned(), self._reads, self._units]

    def outputs(self) -> Tensor:
        """See `Fit.outputs`."""
        hidden = (self._units.float() @ self._stages).relu().double()
        return super().outputs().addmm(self._reads, hidden)

    def decayed(self, shares: Tensor) -> Tensor:
        """See `Fit.decayed`; units are all new classes' together."""
        shares = shares.clamp(min=LEAST_SHARE)
        reads = shares @ self._reads.square().sum(dim=1) / 2
        units = shares[1:].sum() * self._units[:, :-1].square().sum() / 2
        return super().decayed(shares).add(reads + units)

    @torch.no_grad()
    def units(self) -> Units:
        weight, bias = self._seen.folded(self._units)
        return Units(weight.float(), bias.float())
