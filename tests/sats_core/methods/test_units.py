import pytest
import torch
from torch import Tensor

from sats_core.errors import DivergedError
from sats_core.method_settings import FrozenSettings
from sats_core.methods.rows import solve_rows
from sats_core.methods.sampling import PixelSample
from sats_core.methods.units import Units, learn_units
from sats_core.models import GrowingClassifier

OLD, NEW, WIDTH, STAGES, PIXELS = 2, 2, 5, 6, 1200


@pytest.fixture
def sample() -> PixelSample:
    """Features that say nothing, and stages of which two tell the kinds by being alike or not."""
    make = torch.Generator().manual_seed(0)
    features = torch.randn(PIXELS, WIDTH, generator=make)
    stages = torch.randn(PIXELS, STAGES, generator=make) * 3 + 1
    alike = (stages[:, 0] > 1) == (stages[:, 1] > 1)
    kinds = torch.where(alike, OLD, 0)
    kinds = torch.where(alike & (stages[:, 0] > 1), OLD + 1, kinds)
    return PixelSample(features, kinds, torch.ones(PIXELS), torch.ones(OLD + NEW), stages)


@pytest.fixture
def before() -> GrowingClassifier:
    torch.manual_seed(1)
    return GrowingClassifier(WIDTH, [OLD])


def learned(
    sample: PixelSample, before: GrowingClassifier, seed: int = 0, **chosen: float
) -> Units:
    settings = FrozenSettings.model_validate({"units": 8, "distillation_weight": 0.1, **chosen})
    return learn_units(sample, before, NEW, settings, seed, lambda: None)


def unlikeliness(sample: PixelSample, old_logits: Tensor) -> float:
    settings = FrozenSettings(distillation_weight=0.1)
    rows = solve_rows(sample, old_logits, NEW, settings, lambda: None)
    return rows.losses["cross_entropy"]


def test_units_tell_what_features_do_not(sample: PixelSample, before: GrowingClassifier) -> None:
    units, old_logits = learned(sample, before), before.logits(sample.features)
    assert sample.stages is not None
    wider = sample._replace(features=units.beside(sample.features, sample.stages))
    assert wider.features.shape == (PIXELS, WIDTH + 8)
    assert torch.equal(wider.features[:, :WIDTH], sample.features)
    linear = sample._replace(features=torch.cat([sample.features, sample.stages], dim=1))
    alone, beside, seen = (unlikeliness(one, old_logits) for one in (sample, wider, linear))
    assert beside < 0.4 * alone
    assert beside < 0.6 * seen, "rows that read the stages themselves do not tell it either"


def test_the_seed_draws_what_they_start_from(
    sample: PixelSample, before: GrowingClassifier
) -> None:
    first, again, other = (learned(sample, before, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_a_large_decay_leaves_units_that_say_nothing(
    sample: PixelSample, before: GrowingClassifier
) -> None:
    assert learned(sample, before, decay=1e9).weight.abs().max() < 1e-3


def test_stages_not_finite_are_told(sample: PixelSample, before: GrowingClassifier) -> None:
    assert sample.stages is not None
    sample.stages[3, 1] = torch.nan
    with pytest.raises(DivergedError):
        learned(sample, before)


def test_stages_are_needed(sample: PixelSample, before: GrowingClassifier) -> None:
    with pytest.raises(ValueError, match="what the stages give"):
        learned(sample._replace(stages=None), before)
