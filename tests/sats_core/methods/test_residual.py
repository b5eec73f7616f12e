import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from sats_core.errors import DivergedError
from sats_core.losses import truthful_cross_entropy
from sats_core.methods import Residual, make_method
from sats_core.methods.combination import Combination
from sats_core.methods.finetune import at_size
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training.fusion import fuse, fusion_share
from tests.fixtures.backbones import TINY
from tests.sats_core.methods.trainers import BatchTrainer

OLD, NEW = 3, 2


class Two(nn.Module):
    """A layer of the published combination: both networks' layers run, their channels are added."""

    def __init__(self, old: nn.Module, new: nn.Module, kept: Tensor, taken: Tensor) -> None:
        super().__init__()
        self.old, self.new, self.kept, self.taken = old, new, kept, taken

    def forward(self, given: Tensor) -> Tensor:
        old, new = self.old(given), self.new(given)
        shape = (1, -1, 1, 1) if old.dim() == 4 else (-1,)
        return (1 + self.kept).view(shape) * old + self.taken.view(shape) * new


def net(seed: int) -> nn.Sequential:
    """Every kind of layer; the batch norm's statistics are the same for every seed."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 5, 1, bias=False),
        nn.Flatten(2),
        nn.Linear(64, 7),
        nn.LayerNorm(7),
    )
    for layer in (layers[1], layers[7]):
        for weight in layer.parameters():
            nn.init.normal_(weight, 1, 0.3)
    torch.manual_seed(9)
    nn.init.uniform_(layers[1].running_mean)  # type: ignore[arg-type]
    nn.init.uniform_(layers[1].running_var, 0.5, 2)  # type: ignore[arg-type]
    return layers.eval()


def shares(combination: Combination, kept: float | None, taken: float | None) -> None:
    """Set all shares to a number, or draw them."""
    with torch.no_grad():
        for place, value in ((combination.old_shares, kept), (combination.new_shares, taken)):
            for share in place:
                share.copy_(torch.randn_like(share) if value is None else torch.tensor(value))


def test_folded_weights_give_what_two_networks_give_that_are_combined_layer_by_layer() -> None:
    old, new = net(0), net(1)
    combination = Combination(dict(old.named_parameters()), dict(new.named_parameters()))
    shares(combination, None, None)
    places = iter(zip(combination.old_shares, combination.new_shares, strict=True))
    both = nn.Sequential(
        *(
            Two(one, other, *next(places)) if list(one.parameters()) else one
            for one, other in zip(old, new, strict=True)
        )
    )
    shown = torch.randn(2, 3, 8, 8)
    folded = functional_call(old, combination.weights(), (shown,))
    torch.testing.assert_close(folded, both(shown), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("kept", "taken", "same"), [(0.0, 0.0, 0), (-1.0, 1.0, 1)])
def test_its_ends_are_the_two_networks(kept: float, taken: float, same: int) -> None:
    nets = (net(0), net(1))
    combination = Combination(*(dict(each.named_parameters()) for each in nets))
    shares(combination, kept, taken)
    expected = dict(nets[same].named_parameters())
    for name, weight in combination.weights().items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-7)


def test_it_starts_half_way_and_the_decay_is_half_the_squares() -> None:
    nets = (net(0), net(1))
    combination = Combination(*(dict(each.named_parameters()) for each in nets))
    old, new = (dict(each.named_parameters()) for each in nets)
    for name, weight in combination.weights().items():
        torch.testing.assert_close(weight, (old[name] + new[name]) / 2)
    channels = 6 + 6 + 6 + 5 + 7 + 7
    assert combination.decay().item() == pytest.approx(channels * 2 * 0.25 / 2)
    shares(combination, 0.0, 0.0)
    assert combination.decay().item() == 0


@pytest.fixture(scope="module")
def before() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [OLD]).eval()
    with torch.no_grad():
        model.classifier.steps[0].weight.mul_(30)  # sure of something
    return model


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, 16:48, 16:40] = OLD
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), labels


def residual(before: Segmenter, **settings: object) -> Residual:
    model = copy.deepcopy(before)
    model.classifier.grow(NEW)
    chosen = StepSettings(method="residual", method_settings=settings)  # type: ignore[arg-type]
    method = make_method(chosen, model.eval(), copy.deepcopy(before))
    assert isinstance(method, Residual)
    return method


class FineTuned(BatchTrainer):
    """Remembers what fine-tuning came to."""

    def descend(self, method: object) -> None:
        super().descend(method)  # type: ignore[arg-type]
        assert isinstance(method, Residual)
        self.weights = {n: p.detach().clone() for n, p in method.model.named_parameters()}
        self.gradients = {
            n: p.grad if p.grad is None else p.grad.clone()
            for n, p in method.model.named_parameters()
        }


def learned(method: Residual, batch: tuple[Tensor, Tensor]) -> tuple[Segmenter, dict[str, Tensor]]:
    trainer = FineTuned([batch])
    method.learn(trainer)
    return method.model, trainer.weights


def test_the_loss_is_the_cross_entropy_of_the_combined_network_and_the_decay(
    before: Segmenter, batch: tuple[Tensor, Tensor]
) -> None:
    method = residual(before, decay=0.25)
    old = {
        n: p for n, p in method.model.named_parameters() if not n.startswith("classifier.steps.1")
    }
    new = {n: p + 0.1 * torch.randn_like(p) for n, p in old.items()}
    combination = Combination(old, new)
    shares(combination, -0.3, 0.7)
    found = method.combined_loss(combination, *batch)
    by_hand = copy.deepcopy(method.model)
    with torch.no_grad():
        for name, weight in old.items():
            by_hand.get_parameter(name).copy_(0.7 * weight + 0.7 * new[name])
    logits = at_size(by_hand(batch[0]), batch[1])
    squares = sum(0.09 + 0.49 for share in combination.old_shares for _ in share)
    expected = truthful_cross_entropy(logits, batch[1], OLD).mean() + 0.25 * squares / 2
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    found.backward()
    assert all(share.grad is not None for share in combination.parameters())
    assert all(weight.grad is None for weight in method.model.parameters() if weight in set(old))


def test_a_strong_decay_ends_at_the_old_network_and_new_rows_stay_fine_tuned(
    before: Segmenter, batch: tuple[Tensor, Tensor]
) -> None:
    batch = batch[0][:1, :, :32, :32], batch[1][:1, :32, :32]
    method = residual(before, decay=1e6, passes=100, rate=0.05)
    start = {n: p.detach().clone() for n, p in method.model.named_parameters()}
    model, fine_tuned = learned(method, batch)
    with torch.no_grad():
        was = before(batch[0])[:, 1:]  # the background was lowered by the balanced start
        found = model(batch[0])
    torch.testing.assert_close(found[:, 1:OLD], was, rtol=0, atol=0.05 * was.abs().max().item())
    new = "classifier.steps.1.weight"
    assert torch.equal(model.get_parameter(new), fine_tuned[new])
    assert not torch.equal(fine_tuned[new], start[new])


def test_without_a_pass_it_is_half_of_both_as_weight_fusion_by_half_would_be(
    before: Segmenter, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = residual(before, passes=0)
    start = copy.deepcopy(method.model)
    model, fine_tuned = learned(method, batch)
    fused = copy.deepcopy(start)
    with torch.no_grad():
        for name, weight in fine_tuned.items():
            fused.get_parameter(name).copy_(weight)
    monkeypatch.setattr("sats_core.training.fusion.fusion_share", lambda *_: 0.5)
    assert fuse(fused, before) == 0.5 != fusion_share(NEW, OLD)
    for name, weight in model.named_parameters():
        # Fusion averages with the background's bias as it was before the balanced start.
        if name != "classifier.steps.0.bias":
            torch.testing.assert_close(weight, fused.get_parameter(name), msg=name)


def test_learned_shares_fit_the_labels_better_than_half_of_both(
    before: Segmenter, batch: tuple[Tensor, Tensor]
) -> None:
    losses = []
    for passes in (0, 10):
        model, _ = learned(residual(before, passes=passes, decay=0.0), batch)
        with torch.no_grad():
            logits = at_size(model(batch[0]), batch[1])
            losses.append(truthful_cross_entropy(logits, batch[1], OLD).mean().item())
    assert losses[1] < losses[0] - 1e-3


def test_a_loss_that_is_no_number_ends_it(before: Segmenter, batch: tuple[Tensor, Tensor]) -> None:
    method = residual(before)

    class Broken(BatchTrainer):
        def descend(self, _method: object) -> None:
            with torch.no_grad():
                method.model.head.mix.weight.fill_(float("nan"))

    with pytest.raises(DivergedError, match="combined network"):
        method.learn(Broken([batch]))


def test_the_shares_alone_have_gradients_while_they_learn(
    before: Segmenter, batch: tuple[Tensor, Tensor]
) -> None:
    method, trainer = residual(before, passes=2), FineTuned([batch])
    kept: list[bool] = []
    combined = method.combined_loss

    def watched(combination: Combination, pictures: Tensor, labels: Tensor) -> Tensor:
        kept.extend(weight.requires_grad for weight in method.model.parameters())
        return combined(combination, pictures, labels)

    method.combined_loss = watched  # type: ignore[method-assign]
    method.learn(trainer)
    assert kept
    assert not any(kept)
    assert all(weight.requires_grad for weight in method.model.parameters())
    for name, weight in method.model.named_parameters():
        torch.testing.assert_close(weight.grad, trainer.gradients[name], rtol=0, atol=0, msg=name)
