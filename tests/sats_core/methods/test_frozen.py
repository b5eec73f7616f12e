import copy

import pytest
import torch
from torch import Tensor

from sats_core.methods import Frozen, make_method
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from tests.sats_core.methods.trainers import BatchTrainer

OLD, NEW = 3, 2


@pytest.fixture(scope="module")
def before() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone("pvt_v2_b0", 0), [OLD])
    with torch.no_grad():
        for _ in range(3):  # batch norm gets statistics of its own
            model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    """Two pictures whose left half is red and the first new class, the right half blue."""
    pictures = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) / 4
    pictures[:, 0, :, :32] += 2
    pictures[:, 2, :, 32:] += 2
    labels = torch.zeros(2, 64, 64, dtype=torch.long)
    labels[:, :, :32] = OLD
    return [(pictures, labels)]


def learned(before: Segmenter, batches: list[tuple[Tensor, Tensor]], **chosen: float) -> Segmenter:
    old, model = copy.deepcopy(before), copy.deepcopy(before)
    model.classifier.grow(NEW)
    settings = StepSettings(
        method="frozen", method_settings={"pixels": 2000, "presence": 1, **chosen}
    )
    make_method(settings, model, old).learn(BatchTrainer(batches))
    return model.eval()


@pytest.mark.parametrize("residual", [False, True])
def test_everything_known_stays_bit_for_bit(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]], residual: float
) -> None:
    model = learned(before, batches, residual=residual).state_dict()
    for name, tensor in before.state_dict().items():
        first = 1 if residual and name.startswith("classifier.") else 0
        assert (
            torch.equal(model[name][first:], tensor[first:])
            if tensor.ndim
            else tensor.equal(model[name])
        ), name
    moved = not torch.equal(
        model["classifier.steps.0.weight"][0], before.classifier.steps[0].weight[0]
    )
    assert moved is bool(residual)


@pytest.mark.parametrize("residual", [False, True])
def test_the_new_class_is_learned_and_one_without_a_pixel_is_not_seen(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]], residual: float
) -> None:
    model = learned(before, batches, residual=residual, distillation_weight=0.1)
    pictures, _ = batches[0]
    with torch.no_grad():
        found = model(pictures).argmax(dim=1)
    assert (found[:, :, :6] == OLD).float().mean() > 0.95
    assert (found[:, :, 10:] < OLD).float().mean() > 0.95
    assert not (found == OLD + 1).any()


def test_old_logits_are_the_old_ones(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]]
) -> None:
    model = learned(before, batches)
    with torch.no_grad():
        assert torch.equal(model(batches[0][0])[:, :OLD], before(batches[0][0]))


def test_rows_that_are_not_solved_are_told(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]]
) -> None:
    def warnings(**chosen: float) -> list[str]:
        model = copy.deepcopy(before)
        model.classifier.grow(NEW)
        settings = StepSettings(method="frozen", method_settings={"pixels": 2000, **chosen})
        trainer = BatchTrainer(batches)
        make_method(settings, model, copy.deepcopy(before)).learn(trainer)
        return trainer.warnings

    assert not warnings()
    (warning,) = warnings(iterations=1)
    assert "after 1 steps the largest gradient is" in warning
    assert "above the tolerance of 0.0001" in warning


def test_replayed_classes_share_the_pixels(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]]
) -> None:
    model = copy.deepcopy(before)
    model.classifier.grow(NEW)
    settings = StepSettings(method="frozen", method_settings={"pixels": 2000})
    method = make_method(settings, model, copy.deepcopy(before))
    assert isinstance(method, Frozen)
    pictures, labels = batches[0]
    labels[:, 32:] = torch.where(labels[:, 32:] == 0, 1, OLD + 1)
    sample = method.sampled([(pictures, labels)], seed=0)
    assert sample is not None
    assert torch.bincount(sample.kinds).tolist() == [500] * 4


def test_the_same_seed_gives_the_same_rows(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]]
) -> None:
    first, again = learned(before, batches), learned(before, batches)
    assert torch.equal(first.classifier.steps[1].weight, again.classifier.steps[1].weight)
