"""Dropout that does not mind how a batch is divided."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchDropout(nn.Module):
    """Dropout of whole channels, as `nn.Dropout2d`, by masks that belong to a batch.

    What a picture loses is drawn for the whole batch at once, so that it is the same whether the
    batch is computed in one pass, in parts one after another, or in parts on several devices.
    """

    def __init__(self, share: float, channels: int) -> None:
        """Leave out `share` of the channels of features (B, `channels`, H, W) in training."""
        super().__init__()
        self.share = share
        self.channels = channels
        self._left: Tensor | None = None

    def draw(self, pictures: int, own: slice, device: torch.device) -> None:
        """Draw masks for a batch of so many pictures; the passes to come are over `own` of them.

        It takes from torch's generator what one pass over the whole batch would.
        """
        ones = torch.ones(pictures, self.channels, 1, 1, device=device)
        self._left = F.dropout2d(ones, self.share)[own]

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, C, H, W) less what their pictures lose; a pass for which nothing was
        drawn is a batch of its own."""
        if not self.training or self._left is None:
            return F.dropout2d(features, self.share, self.training)
        masks, self._left = self._left.split((len(features), len(self._left) - len(features)))
        if not len(self._left):
            self._left = None
        kept: Tensor = features * masks.to(features.dtype)
        return kept
