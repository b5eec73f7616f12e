"""A network whose every channel is a combination of two networks' channels."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

HALF = 0.5
"""Of each of the two networks at the start."""


class Combination(nn.Module):
    """Layer by layer and channel by channel (1 + s) x old + t x new, s and t learned.

    A linear layer or convolution gives (1 + s) (W_old x + b_old) + t (W_new x + b_new), and so does
    the scale and shift of a normalisation, whose statistics both networks share after the base
    step. All of these are linear in their weights, so the layers' combination is one layer with the
    combined weights: nothing is computed twice, and nothing larger is left.

    s = t = 0 is the old network, s = -1 and t = 1 the new one.
    """

    def __init__(self, old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> None:
        """Start half way between two networks.

        Args:
            old: weights by name, the channel first; those of one module have the same channels.
            new: the other network's, among them all of these names.
        """
        super().__init__()
        self._old = {name: tensor.detach() for name, tensor in old.items()}
        self._new = {name: new[name].detach().clone() for name in old}
        self._places = {name: place for place, name in enumerate(self._modules_of(old))}
        channels = {self._module(name): tensor for name, tensor in old.items()}
        self.old_shares = nn.ParameterList(t.new_full((len(t),), -HALF) for t in channels.values())
        self.new_shares = nn.ParameterList(t.new_full((len(t),), HALF) for t in channels.values())

    def weights(self) -> dict[str, Tensor]:
        """Return the combined weights by name, with the gradient of the shares."""
        return {name: self._combined(name) for name in self._old}

    def decay(self) -> Tensor:
        """Return half the sum of all s^2 + t^2: how far the combination is from the old network."""
        squares = [share.square().sum() for share in (*self.old_shares, *self.new_shares)]
        return torch.stack(squares).sum() / 2

    def _combined(self, name: str) -> Tensor:
        old, new = self._old[name], self._new[name]
        place = self._places[self._module(name)]
        shape = (-1, *[1] * (old.dim() - 1))
        kept = (1 + self.old_shares[place]).view(shape) * old
        combined: Tensor = kept + self.new_shares[place].view(shape) * new
        return combined

    @staticmethod
    def _module(name: str) -> str:
        return name.rpartition(".")[0]

    def _modules_of(self, weights: Mapping[str, Tensor]) -> dict[str, None]:
        return dict.fromkeys(self._module(name) for name in weights)
