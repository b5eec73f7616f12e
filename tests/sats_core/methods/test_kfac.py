import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from sats_core.losses import Factors, truthful_cross_entropy
from sats_core.methods import Kfac, make_method
from sats_core.methods.curvature import Curvature, curvature_of
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.methods.layers import layers_of
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from tests.fixtures.backbones import TINY

OLD, NEW = 3, 2
HELD = (
    "classifier.steps.0",
    "head.finish.0",
    "backbone.net.stages.0.blocks.0.attn.proj",
    "backbone.net.stages.1.blocks.0.mlp.dwconv",
    "backbone.net.stages.1.blocks.0.norm1",
)


@pytest.fixture(scope="module")
def before() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [OLD]).eval()
    with torch.no_grad():
        model.classifier.steps[0].weight.mul_(30)  # sure of something
    return model


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, 16:48, 16:40] = OLD
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)), labels


@pytest.fixture(scope="module")
def curvature(before: Segmenter, batch: tuple[Tensor, Tensor]) -> Curvature:
    return curvature_of(before, [batch], 0)


def kfac(before: Segmenter, curvature: Curvature | None, **settings: object) -> Kfac:
    model = copy.deepcopy(before)
    model.classifier.grow(NEW)
    chosen = StepSettings(method="kfac", method_settings=settings)  # type: ignore[arg-type]
    method = make_method(chosen, model.eval(), copy.deepcopy(before), curvature)
    assert isinstance(method, Kfac)
    return method


def moved(method: Kfac, seed: int = 0) -> dict[str, Tensor]:
    """Move all weights at random; return what each layer's matrices have moved by."""
    layers = layers_of(method.model)
    was = {name: layer.weight().detach().clone() for name, layer in layers.items()}
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in method.model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return {name: layer.weight().detach() - was[name] for name, layer in layers.items()}


def test_the_penalty_is_the_quadratic_form_of_all_matrices_written_out(
    before: Segmenter, curvature: Curvature, batch: tuple[Tensor, Tensor]
) -> None:
    some = Curvature({name: curvature.layers[name] for name in HELD})
    method = kfac(before, some, weight=7.0, damping=0.25)
    expected = 0.0
    for name, change in moved(method).items():
        if name not in HELD:
            continue
        inputs, outputs = (side.double() for side in curvature.layers[name])
        for a, g, block in zip(inputs, outputs, change.double(), strict=True):
            whole = torch.kron(g, a) + 0.25 * torch.eye(block.numel(), dtype=torch.float64)
            move = block.flatten()
            expected += (move @ whole @ move).item() / 2
    found = method.loss_terms(*batch)["curvature"].item()
    assert found == pytest.approx(7 * expected, rel=1e-4)


def test_every_weight_of_the_old_model_is_held(
    before: Segmenter, curvature: Curvature, batch: tuple[Tensor, Tensor]
) -> None:
    method = kfac(before, curvature, damping=0.0)
    moved(method)
    method.loss_terms(*batch)["curvature"].backward()
    known = {name for name, _ in before.named_parameters()}
    for name, weight in method.model.named_parameters():
        held = weight.grad is not None and bool(weight.grad.any())
        assert held == (name in known), name


def test_the_start_costs_nothing_though_the_background_was_lowered(
    before: Segmenter, curvature: Curvature, batch: tuple[Tensor, Tensor]
) -> None:
    method = kfac(before, curvature, damping=1.0)
    first, old = method.model.classifier.steps[0].bias, before.classifier.steps[0].bias
    assert not torch.equal(first, old)  # type: ignore[arg-type]
    assert method.loss_terms(*batch)["curvature"].item() == 0


def test_new_rows_are_held_by_nothing_until_a_later_step_holds_them(
    before: Segmenter, curvature: Curvature, batch: tuple[Tensor, Tensor]
) -> None:
    method = kfac(before, curvature, damping=1.0)
    with torch.no_grad():
        method.model.classifier.steps[1].weight[0] += 0.1
    assert method.loss_terms(*batch)["curvature"].item() == 0
    after = curvature.merged(curvature_of(method.model, [batch], 0))
    later = kfac(method.model, after, damping=0.0)
    with torch.no_grad():
        later.model.classifier.steps[1].weight[0] += 0.1
    assert later.loss_terms(*batch)["curvature"].item() > 0
    assert later.model.classifier.channels == OLD + 2 * NEW


def test_what_is_kept_is_not_looked_for(before: Segmenter, curvature: Curvature) -> None:
    def pictures() -> Iterator[tuple[Tensor, Tensor]]:
        raise AssertionError("a picture was looked at")
        yield

    kfac(before, curvature).prepare(pictures())


def test_without_one_it_is_found_on_the_steps_own_pictures(
    before: Segmenter, curvature: Curvature, batch: tuple[Tensor, Tensor]
) -> None:
    found, kept = kfac(before, None), kfac(before, curvature)
    found.prepare([batch, batch])
    limited = kfac(before, None, pictures=2)
    limited.prepare([batch, batch])
    terms = []
    for method in (found, limited, kept):
        moved(method)
        terms.append(method.loss_terms(*batch)["curvature"].item())
    assert terms[1] == pytest.approx(terms[2], rel=1e-5)
    assert terms[0] != terms[1]


def test_background_may_be_any_old_class_unless_it_is_said_to_be_plain(
    before: Segmenter, curvature: Curvature, batch: tuple[Tensor, Tensor]
) -> None:
    method = kfac(before, curvature)
    plain = kfac(before, curvature, cross_entropy="plain")
    logits = at_size(method.model(batch[0]), batch[1])
    unbiased = truthful_cross_entropy(logits, batch[1], OLD).mean()
    torch.testing.assert_close(method.loss_terms(*batch)["cross_entropy"], unbiased)
    expected = cross_entropy(logits, batch[1])
    torch.testing.assert_close(plain.loss_terms(*batch)["cross_entropy"], expected)
    assert expected > unbiased


@pytest.mark.parametrize("part", ["all", "classifier", "head.finish", "head", "backbone"])
def test_small_moves_cost_what_the_predictions_move_by(before: Segmenter, part: str) -> None:
    """To second order the divergence of the old answers from the new ones is the penalty."""
    make = torch.Generator().manual_seed(2)
    shown = torch.randn(16, 3, 64, 64, generator=make)
    labels = torch.zeros(16, 64, 64, dtype=torch.long)
    parts = [slice(first, first + 4) for first in range(0, 16, 4)]
    curvature = curvature_of(before, [(shown[at], labels[at]) for at in parts], 0)
    method = make_method(
        StepSettings(method="kfac", method_settings={"damping": 0}),
        copy.deepcopy(before),
        copy.deepcopy(before),
        curvature,
    )
    assert isinstance(method, Kfac)
    model = method.model
    with torch.no_grad():
        was = at_size(model(shown), labels).log_softmax(dim=1)
        for weight in (model if part == "all" else model.get_submodule(part)).parameters():
            weight += 0.001 * torch.randn(weight.shape, generator=make)
        now = at_size(model(shown), labels).log_softmax(dim=1)
        divergence = (was.exp() * (was - now)).sum(dim=1).mean().item()
        penalty = method.loss_terms(shown[:1], labels[:1])["curvature"].item()
    # What layers and positions do to each other is what the factors leave out.
    assert 0.4 < penalty / divergence < 2, penalty / divergence


def test_factors_of_a_layer_that_is_not_there_are_no_silent_hole(before: Segmenter) -> None:
    one = Factors(torch.eye(1)[None], torch.eye(1)[None])
    method = kfac(before, Curvature({"nowhere": one}))
    with pytest.raises(KeyError, match="nowhere"):
        method.loss_terms(torch.zeros(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.long))
