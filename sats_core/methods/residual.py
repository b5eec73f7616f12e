"""Residual continual learning (Lee et al., AAAI 2020; arXiv 2002.06774)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from sats_core.errors import DivergedError
from sats_core.method_settings import ResidualSettings
from sats_core.methods.combination import Combination
from sats_core.methods.finetune import at_size
from sats_core.methods.method import Trainer
from sats_core.methods.supervised import Supervised
from sats_core.models import Segmenter


class Residual(Supervised):
    """Fine-tuning; then each channel becomes a learned combination of old and fine-tuned one.

    After gradient descent on the cross-entropy, both networks stay as they are and the shares of
    their channels are learned (`Combination`), on the step's pictures as evaluation sees them, by
    the cross-entropy + `decay` / 2 x the squared shares, which pull towards the old network: how
    much is taken of the new one is what the new classes need. The combination is folded into plain
    weights: a version is no larger and no slower. The classifier's new rows, of which there are no
    old ones, stay as they were fine-tuned; the old network is the one that the step starts with,
    its background lowered by the balanced start.

    The combination, its decay and its folding are the paper's. Ours is that the shares alone learn
    after the fine-tuning, from half of each network, and the cross-entropy: as for that, see
    `sats_core.methods.kfac`, neither network's weights tell that labels call old classes
    background.

    Weight fusion (`sats_core.training.fusion`) is the same with one share for all channels, which
    the numbers of classes give and nothing learns.
    """

    settings: ResidualSettings

    def __init__(self, model: Segmenter, old: Segmenter | None, settings: ResidualSettings) -> None:
        """See `WithTeacher`; the model is grown, as the step starts with it."""
        super().__init__(model, old, settings)
        known = {name for name, _ in self.teacher.named_parameters()}
        self._start = {
            name: weight.detach().clone()
            for name, weight in model.named_parameters()
            if name in known
        }

    def loss_terms(self, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        """See `Finetune.loss_terms`: of fine-tuning, before anything is combined."""
        logits = at_size(self.model(pictures), labels)
        return {"cross_entropy": self.supervised(logits, labels)}

    def learn(self, trainer: Trainer) -> None:
        """See `Method.learn`.

        Raises:
            DivergedError: the loss is not finite.
        """
        super().learn(trainer)
        self.model.eval()
        combination = Combination(self._start, dict(self.model.named_parameters()))
        learning = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.model.requires_grad_(False)  # the shares alone learn: no graph to the new rows
        try:
            self._learn_shares(trainer, combination)
        finally:
            for weight in learning:
                weight.requires_grad_()
        with torch.no_grad():
            for name, combined in combination.weights().items():
                self.model.get_parameter(name).copy_(combined)

    def _learn_shares(self, trainer: Trainer, combination: Combination) -> None:
        shares = list(combination.parameters())
        optimizer = torch.optim.Adam(shares, lr=self.settings.rate)
        for _ in range(self.settings.passes):
            for pictures, labels in trainer.look():
                trainer.check()
                with trainer.precision():
                    loss = self.combined_loss(combination, pictures, labels)
                if not loss.isfinite():
                    raise DivergedError(
                        f"the loss of the combined network is {loss.item()}: a lower rate may help"
                    )
                found = torch.autograd.grad(loss, shares)
                for share, gradient in zip(shares, found, strict=True):
                    share.grad = gradient
                optimizer.step()

    def combined_loss(self, combination: Combination, pictures: Tensor, labels: Tensor) -> Tensor:
        """Return what the shares minimise on one batch, a scalar.

        Args:
            combination: of the two networks.
            pictures: (B, 3, H, W), normalised.
            labels: (B, H, W) as in `Finetune.loss_terms`.
        """
        logits = functional_call(self.model, combination.weights(), (pictures,))
        found = self.supervised(at_size(logits, labels), labels)
        return found + self.settings.decay * combination.decay()
