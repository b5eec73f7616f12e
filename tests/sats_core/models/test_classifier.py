import copy
import math

import numpy as np
import pytest
import torch

from sats_core.models import GrowingClassifier, Segmenter, balanced_start, seeded_backbone
from tests.fixtures.shared import shared


@pytest.mark.parametrize("case", ["case_1", "case_2", "case_3", "case_4"])
def test_balanced_start_reference(case: str) -> None:
    path = shared("reference", f"{case}.npz")
    arrays = {k: torch.from_numpy(v) for k, v in np.load(path).items() if k != "meta"}
    new = len(arrays["expanded_new_bias"])

    weight, bias, background = balanced_start(
        arrays["classifier_weight"], arrays["classifier_bias"], new
    )

    torch.testing.assert_close(weight, arrays["expanded_new_weight"], rtol=1e-9, atol=0)
    torch.testing.assert_close(bias, arrays["expanded_new_bias"], rtol=1e-9, atol=0)
    torch.testing.assert_close(background, arrays["expanded_background_bias"], rtol=1e-9, atol=0)


def test_growing_keeps_what_the_old_model_said() -> None:
    torch.manual_seed(0)
    classifier = GrowingClassifier(8, [3])
    features = torch.randn(2, 8, 4, 4)
    before = classifier(features).softmax(1)

    classifier.grow(2)

    after = classifier(features).softmax(1)
    assert classifier.channels == after.shape[1] == 5
    # Old classes keep their probability; background shares its own with the new ones.
    torch.testing.assert_close(after[:, 1:3], before[:, 1:3])
    shared = before[:, :1].expand(-1, 3, -1, -1) / 3
    torch.testing.assert_close(after[:, [0, 3, 4]], shared)


def test_growing_twice_keeps_channel_order() -> None:
    classifier = GrowingClassifier(8, [3])
    first = classifier.steps[0].weight.clone()
    classifier.grow(1)
    classifier.grow(2)
    assert [step.out_channels for step in classifier.steps] == [3, 1, 2]
    assert torch.equal(classifier.steps[0].weight, first)
    assert math.isfinite(classifier.steps[2].bias.sum().item())


def test_a_grown_model_has_the_shape_of_one_built_so() -> None:
    grown = Segmenter(seeded_backbone("pvt_v2_b0", 0), [3])
    grown.classifier.grow(2)
    built = Segmenter(seeded_backbone("pvt_v2_b0", 0), [3, 2])
    built.load_state_dict(grown.state_dict())


class TestStartRows:
    def taken(self, new: int, known: int) -> torch.Tensor:
        """Return the probability (2, 4, 4) that all new classes take right after the start."""
        torch.manual_seed(0)
        classifier = GrowingClassifier(8, [4])
        with torch.no_grad():
            for weight in classifier.parameters():
                weight.mul_(6)
        features = torch.randn(2, 8, 4, 4)
        old = copy.deepcopy(classifier)
        classifier.grow(new)
        response = torch.tensor([[0.1, 0.2, 0.6, 0.1]])
        classifier.start_rows(old, response.expand(new, -1), torch.arange(new) < known)
        return classifier(features).softmax(1)[:, 4:].sum(1)

    @pytest.mark.parametrize("new", [2, 5, 10, 40])
    def test_what_new_classes_take_does_not_depend_on_their_number(self, new: int) -> None:
        torch.testing.assert_close(self.taken(new, new), self.taken(1, 1))
        torch.testing.assert_close(self.taken(new, 0), self.taken(1, 0))

    def test_rows_that_are_not_known_share_the_backgrounds_half(self) -> None:
        classifier = GrowingClassifier(8, [4])
        old = copy.deepcopy(classifier)
        classifier.grow(3)
        classifier.start_rows(old, torch.zeros(3, 4), torch.zeros(3, dtype=torch.bool))
        features = torch.randn(2, 8, 4, 4)
        before, after = old(features).softmax(1), classifier(features).softmax(1)
        torch.testing.assert_close(after[:, 1:4], before[:, 1:4])
        torch.testing.assert_close(after[:, 4:].sum(1), before[:, 0] / 2)


class TestWithout:
    @pytest.fixture
    def classifier(self) -> GrowingClassifier:
        torch.manual_seed(0)
        return GrowingClassifier(8, [3, 1, 2])

    @pytest.mark.parametrize(
        ("gone", "sizes"), [((2,), [2, 1, 2]), ((3,), [3, 2]), ((1, 2, 5), [1, 1, 1])]
    )
    def test_the_other_rows_stay_bit_for_bit(
        self, classifier: GrowingClassifier, gone: tuple[int, ...], sizes: list[int]
    ) -> None:
        less = classifier.without(gone)
        assert [step.out_channels for step in less.convolutions()] == sizes
        stays = [row for row in range(classifier.channels) if row not in gone]
        for kind in ("weight", "bias"):
            was = torch.cat([getattr(step, kind) for step in classifier.convolutions()])
            now = torch.cat([getattr(step, kind) for step in less.convolutions()])
            assert torch.equal(now, was[stays])
        assert classifier.channels == 6

    def test_the_background_stays(self, classifier: GrowingClassifier) -> None:
        with pytest.raises(ValueError, match="stays"):
            classifier.without([0, 1])

    def test_moving_the_background_moves_nothing_else(self, classifier: GrowingClassifier) -> None:
        features, moved = torch.randn(1, 8, 2, 2), copy.deepcopy(classifier)
        weight, bias = torch.randn(8, dtype=torch.float64), torch.tensor(0.5).double()
        moved.move_background(weight, bias)
        before, after = classifier(features), moved(features)
        assert torch.equal(after[:, 1:], before[:, 1:])
        more = torch.einsum("d,bdhw->bhw", weight.float(), features) + 0.5
        torch.testing.assert_close(after[:, 0], before[:, 0] + more, rtol=1e-5, atol=1e-5)
