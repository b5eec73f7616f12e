import copy

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.methods import make_method
from sats_core.methods.features import FeatureMemory
from sats_core.methods.frozen import NO_STAGES, NO_WIDENING
from sats_core.methods.sampling import see
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.version_config import HeadName
from tests.fixtures.backbones import TINY
from tests.sats_core.methods.trainers import BatchTrainer

OLD, NEW = 3, 2


@pytest.fixture(scope="module")
def before() -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [OLD])
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
        method="frozen", method_settings={"pixels": 2000, "presence": 1, "units": 0, **chosen}
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
        settings = StepSettings(method_settings={"pixels": 2000, "units": 0, **chosen})
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
    pictures, labels = batches[0]
    labels[:, 32:] = torch.where(labels[:, 32:] == 0, 1, OLD + 1)
    seen = see(model, None, [(pictures, labels)], 2000, seed=0)
    assert seen is not None
    assert torch.bincount(seen.before.kinds).tolist() == [500, 500, 0, 500, 500]


def test_the_same_seed_gives_the_same_rows(
    before: Segmenter, batches: list[tuple[Tensor, Tensor]]
) -> None:
    first, again = learned(before, batches), learned(before, batches)
    assert torch.equal(first.classifier.steps[1].weight, again.classifier.steps[1].weight)


class TestReplay:
    """The version before keeps features: those of the new class's own pixels, as another class."""

    @pytest.fixture
    def trainer(self, before: Segmenter, batches: list[tuple[Tensor, Tensor]]) -> BatchTrainer:
        pictures, _ = batches[0]
        with torch.no_grad():
            seen = before.head(before.backbone(pictures))[:, :, :, :6].transpose(0, 1).flatten(1).T
        trainer = BatchTrainer(batches)
        labels = torch.full((len(seen),), OLD - 1)
        shares = torch.full((len(seen),), 1 / len(seen))
        trainer.features = FeatureMemory(seen, labels, torch.ones_like(labels), shares)
        return trainer

    def learned(self, before: Segmenter, trainer: BatchTrainer, **chosen: float | str) -> Segmenter:
        model = copy.deepcopy(before)
        model.classifier.grow(NEW)
        settings = StepSettings(method="frozen", method_settings={"pixels": 2000, **chosen})
        make_method(settings, model, copy.deepcopy(before)).learn(trainer)
        return model.eval()

    def taken(self, model: Segmenter, batches: list[tuple[Tensor, Tensor]]) -> float:
        with torch.no_grad():
            found = model(batches[0][0]).argmax(dim=1)
        return (found[:, :, :6] == OLD).float().mean().item()

    @pytest.mark.parametrize("rows", ["all", "new"])
    def test_what_old_classes_look_like_is_left_to_them(
        self,
        before: Segmenter,
        batches: list[tuple[Tensor, Tensor]],
        trainer: BatchTrainer,
        rows: str,
    ) -> None:
        alone = learned(before, batches, distillation_weight=0.1)
        among = self.learned(before, trainer, rows=rows, presence=0.1, distillation_weight=0.1)
        assert self.taken(alone, batches) > 0.95
        assert self.taken(among, batches) < 0.05

    def test_an_old_row_learns_what_its_class_looks_like(
        self, before: Segmenter, batches: list[tuple[Tensor, Tensor]], trainer: BatchTrainer
    ) -> None:
        def scores(model: Segmenter) -> Tensor:
            with torch.no_grad():
                return model(batches[0][0]).softmax(dim=1)[:, OLD - 1, :, :6].mean()

        every = self.learned(before, trainer, rows="all", presence=0.1)
        new = self.learned(before, trainer, rows="new", presence=0.1)
        assert scores(every) > scores(new) + 0.1
        first = every.classifier.steps[0], before.classifier.steps[0]
        assert not torch.equal(first[0].weight, first[1].weight)
        assert torch.equal(new.classifier.steps[0].weight, before.classifier.steps[0].weight)

    def test_backbone_and_head_stay(self, before: Segmenter, trainer: BatchTrainer) -> None:
        model = self.learned(before, trainer).state_dict()
        for name, tensor in before.state_dict().items():
            assert name.startswith("classifier.") or torch.equal(model[name], tensor), name

    def test_the_sample_is_handed_over_by_channel(
        self, before: Segmenter, trainer: BatchTrainer
    ) -> None:
        self.learned(before, trainer)
        assert trainer.drawn is not None
        sample, memory = trainer.drawn
        assert sample.kinds.unique().tolist() == [0, OLD]
        assert memory is trainer.features


class TestUnits:
    """The head is widened by features that new rows alone mind."""

    @pytest.fixture
    def trainer(self, before: Segmenter, batches: list[tuple[Tensor, Tensor]]) -> BatchTrainer:
        """The version before keeps what it saw of the pictures' right half, as an old class."""
        pictures, labels = batches[0]
        kept = torch.where(labels == OLD, IGNORE, OLD - 1)
        seen = see(before, None, [(pictures, kept)], 500, seed=0)
        assert seen is not None
        trainer = BatchTrainer(batches)
        trainer.features = FeatureMemory.of(seen.before, hides=1)
        return trainer

    def widened(self, before: Segmenter, trainer: BatchTrainer, **chosen: float | str) -> Segmenter:
        model = copy.deepcopy(before)
        model.classifier.grow(NEW)
        settings = {"pixels": 2000, "units": 4, **chosen}
        step = StepSettings(method="frozen", method_settings=settings)
        make_method(step, model, copy.deepcopy(before)).learn(trainer)
        return model.eval()

    @pytest.mark.parametrize("keeps", [True, False])
    def test_old_logits_stay_and_the_new_class_is_learned(
        self,
        before: Segmenter,
        batches: list[tuple[Tensor, Tensor]],
        trainer: BatchTrainer,
        keeps: bool,
    ) -> None:
        if not keeps:
            trainer.features = None
        model = self.widened(before, trainer, presence=0.9, distillation_weight=0.1)
        pictures, _ = batches[0]
        with torch.no_grad():
            logits = model(pictures)
            torch.testing.assert_close(logits[:, :OLD], before(pictures))
        assert not trainer.warnings
        assert model.head.width == before.head.width + 4
        assert model.classifier.steps[1].weight[:, before.head.width :].abs().max() > 0
        assert (logits.argmax(dim=1)[:, :, :6] == OLD).float().mean() > 0.95

    def test_what_is_kept_is_what_the_wider_head_gives(
        self, before: Segmenter, batches: list[tuple[Tensor, Tensor]], trainer: BatchTrainer
    ) -> None:
        model = self.widened(before, trainer)
        assert trainer.drawn is not None
        sample, memory = trainer.drawn
        assert memory is not None
        again = see(model, None, batches, 2000, seed=0)
        assert again is not None
        width, apart = before.head.width, (sample.features - again.after.features).abs()
        assert apart[:, :width].max() < 1e-4
        # A unit was made of stages read between points, and here is itself read between them.
        assert apart[:, width:].mean() < 0.05 * again.after.features[:, width:].std()
        assert memory.features.shape[1] == model.head.width

    def test_all_rows_may_learn_with_them(self, before: Segmenter, trainer: BatchTrainer) -> None:
        model = self.widened(before, trainer, rows="all")
        old_rows = model.classifier.steps[0].weight[:, before.head.width :]
        assert old_rows.abs().max() > 0

    def test_a_memory_without_stages_is_told_of(
        self, before: Segmenter, trainer: BatchTrainer
    ) -> None:
        assert trainer.features is not None
        trainer.features = trainer.features._replace(stages=None)
        model = self.widened(before, trainer)
        assert model.head.width == before.head.width
        assert NO_STAGES in trainer.warnings

    @pytest.mark.parametrize("room", [3, 0])
    def test_a_head_gets_no_wider_than_an_import_may_be(
        self,
        before: Segmenter,
        trainer: BatchTrainer,
        room: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        most = before.head.width + room
        monkeypatch.setattr("sats_core.methods.frozen.MAX_HEAD_WIDTH", most)
        model = self.widened(before, trainer)
        assert model.head.width == most
        warning = trainer.warnings[0]
        assert f"{room or 'no'} units were learned in place of 4" in warning
        assert f"{most} at most" in warning

    @pytest.mark.parametrize("head", ["softmax", "scaled", "focal"])
    def test_a_head_with_a_block_behind_it_learns_rows_alone(
        self, batches: list[tuple[Tensor, Tensor]], head: HeadName
    ) -> None:
        torch.manual_seed(0)
        before = Segmenter(seeded_backbone(TINY, 0), [OLD], head=head).eval()
        trainer = BatchTrainer(batches)
        model = self.widened(before, trainer, iterations=5)
        assert model.head.width == before.head.width
        assert NO_WIDENING in trainer.warnings
        assert model.classifier.steps[1].weight.abs().max() > 0

    def test_heads_of_two_widths_are_not_averaged(self) -> None:
        settings = {"method": "frozen", "method_settings": {"units": 4}, "fusion": True}
        with pytest.raises(ValidationError, match="fusion averages the weights of two heads"):
            StepSettings.model_validate(settings)
        assert StepSettings().for_method().units > 0
        assert StepSettings(fusion=True).for_method().units == 0
