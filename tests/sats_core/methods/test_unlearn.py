"""The losses that unlearn, on a small model: what each looks at, and what each does."""

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sats_core.method_settings import UnlearnSettings
from sats_core.methods.unlearn import Unlearn, is_gone, staying
from sats_core.models import Segmenter, seeded_backbone
from tests.fixtures.backbones import TINY

SIZE, GONE = 64, (2,)


@pytest.fixture(scope="module")
def before() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [4]).eval()
    with torch.no_grad():
        for row in model.classifier.convolutions():
            row.weight.mul_(3)
    return model


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    marks = torch.zeros(4, SIZE, SIZE, dtype=torch.long)
    marks[:3, 16:40, 16:40] = 1
    marks[:, :8] = 255
    return marks


def method(before: Segmenter, **weights: float) -> Unlearn:
    """A method whose weights are 1 unless they are given."""
    teacher = copy.deepcopy(before)
    teacher.classifier = before.classifier.without(GONE)
    model = copy.deepcopy(teacher)
    every = dict.fromkeys(UnlearnSettings.model_fields, 1.0)
    settings = UnlearnSettings(**{**every, **weights})
    return Unlearn(model, teacher, copy.deepcopy(before.classifier), GONE, settings)


def prepared(before: Segmenter, pictures: Tensor, labels: Tensor, **weights: float) -> Unlearn:
    made = method(before, **weights)
    made.prepare([(pictures, labels)])
    return made


def terms(made: Unlearn, pictures: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
    made.model.train_step(updates_norms=False)
    made.model.dropout.share = 0.0
    return made.loss_terms(pictures, labels)


def test_at_the_start_what_holds_is_silent(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    found = terms(prepared(before, pictures, labels), pictures, labels)
    assert found["features"].item() == pytest.approx(0, abs=1e-9)
    assert found["attention_transfer"].item() == pytest.approx(0, abs=1e-6)
    assert found["erasure"].item() > 0
    # A cross-entropy with itself has no gradient, though it is not 0.
    assert found["distillation"].item() > 0


def test_erasure_and_separation_are_distances_from_what_background_looks_like(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    made = prepared(before, pictures, labels)
    found = terms(made, pictures, labels)
    with torch.no_grad():
        features = made.teacher.head(made.teacher.backbone(pictures))
        called = made.teacher.classifier(features).argmax(dim=1)
    marks = labels[:, 2::4, 2::4]  # centres of cells of four
    cells = features.permute(0, 2, 3, 1).double()
    held, background = cells[marks == 0], cells[(marks == 0) & (called == 0)]
    mean = background.mean(dim=0) if len(background) else held.mean(dim=0)
    covariance = torch.cov(held.T, correction=0)
    least = 0.01 * covariance.diagonal().mean()
    values, directions = torch.linalg.eigh(covariance)
    inverse = (directions / values.clamp(min=least)) @ directions.T
    away = cells[marks == 1] - mean
    each = torch.einsum("pd,de,pe->p", away, inverse, away)
    whole = away.mean(dim=0)
    assert found["erasure"].item() == pytest.approx(each.mean().item() / len(mean), rel=1e-3)
    assert found["separation"].item() == pytest.approx((whole @ inverse @ whole).item(), rel=1e-3)


def test_the_collision_is_of_the_cross_entropy_that_the_old_rows_have(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    made = prepared(before, pictures, labels)
    found = terms(made, pictures, labels)["collision"]
    gradients = []
    parameters = [*made.model.backbone.parameters(), *made.model.head.parameters()]
    for half in (slice(0, 2), slice(2, 3)):  # the fourth picture shows nothing that goes
        logits = before.classifier(made.model.head(made.model.backbone(pictures[half])))
        logits = F.interpolate(logits, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
        unlikely = -logits.log_softmax(dim=1)[:, GONE[0]]
        loss = unlikely[labels[half] == 1].mean()
        parts = torch.autograd.grad(loss, parameters)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    cosine = F.cosine_similarity(gradients[0], gradients[1], dim=0)
    assert found.item() == pytest.approx(cosine.item(), abs=1e-3)


def test_it_has_second_derivatives_by_every_weight_of_the_features(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    made = prepared(before, pictures, labels)
    terms(made, pictures, labels)["collision"].backward()
    slopes = [
        weight.grad
        for part in (made.model.backbone, made.model.head)
        for weight in part.parameters()
    ]
    assert all(slope is not None and slope.isfinite().all() for slope in slopes)
    assert sum(bool(slope.abs().max() > 0) for slope in slopes if slope is not None) > 20


def test_what_stays_is_taught_by_its_labels(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    told = labels.clone()
    told[:, 48:, :32], told[:, 48:, 32:] = 2, 3  # the first and the second class that stays
    made = prepared(before, pictures, told, supervision_weight=2.0)
    found = terms(made, pictures, told)["cross_entropy"]
    made.model.dropout.share = 0.0
    logits = F.interpolate(made.model(pictures), (SIZE, SIZE), mode="bilinear", align_corners=False)
    unlikely = -logits.log_softmax(dim=1)
    background, first, second = ((told == value) for value in (0, 2, 3))
    whole = sum(
        unlikely[:, channel][marks].sum()
        for channel, marks in enumerate((background, first, second))
    )
    counted = (background | first | second).sum()
    assert found.item() == pytest.approx(2 * (whole / counted).item(), rel=1e-5)


def test_what_goes_and_what_stays_by_their_labels() -> None:
    labels = torch.tensor([0, 1, 2, 3, 4, 255])
    assert is_gone(labels, 2).tolist() == [False, True, True, False, False, False]
    assert staying(labels, 2).tolist() == [0, 0, 0, 1, 2, 255]


def test_no_row_learns(before: Segmenter, pictures: Tensor, labels: Tensor) -> None:
    made = prepared(before, pictures, labels)
    torch.stack(list(terms(made, pictures, labels).values())).sum().backward()
    assert all(row.grad is None for row in made.model.classifier.parameters())


def test_a_few_steps_take_the_class_out_and_leave_the_rest(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    weights = {"collision_weight": 0.0, "separation_weight": 0.0, "erasure_weight": 10.0}
    made = prepared(before, pictures, labels, **weights)
    trained = [*made.model.backbone.parameters(), *made.model.head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=3e-4)
    first = {name: term.item() for name, term in terms(made, pictures, labels).items()}
    for _ in range(25):
        optimizer.zero_grad()
        torch.stack(list(terms(made, pictures, labels).values())).sum().backward()
        optimizer.step()
    last = {name: term.item() for name, term in terms(made, pictures, labels).items()}
    assert last["erasure"] < 0.7 * first["erasure"]
    assert last["features"] < 0.1 * first["erasure"]


@pytest.mark.parametrize("showing", [0, 1])
def test_without_two_pictures_that_show_it_nothing_collides(
    before: Segmenter, pictures: Tensor, labels: Tensor, showing: int
) -> None:
    fewer = labels.clone()
    fewer[showing:][fewer[showing:] == 1] = 0
    found = terms(prepared(before, pictures, fewer), pictures, fewer)
    assert found["collision"].item() == 0
    assert all(term.isfinite() for term in found.values())


def test_a_weight_of_nothing_is_not_computed(
    before: Segmenter, pictures: Tensor, labels: Tensor
) -> None:
    made = prepared(before, pictures, labels, collision_weight=0.0)
    found = terms(made, pictures, labels)
    assert not found["collision"].requires_grad
