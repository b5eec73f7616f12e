from typing import Any

import pytest
import torch

from sats_core.losses import entropy_pseudo_labels, median_thresholds, released_thresholds
from sats_core.losses.pseudo_labels import normalised_entropy


def test_reference(case: dict[str, Any]) -> None:
    classes = case["meta"]["n_old"] + case["meta"]["n_new"]

    entropy = normalised_entropy(case["old_logits"], classes)
    torch.testing.assert_close(entropy, case["pseudo_entropy"], rtol=1e-9, atol=0)
    result = entropy_pseudo_labels(
        case["labels_small"], case["old_logits"], case["pseudo_thresholds"], classes
    )
    assert torch.equal(result.labels, case["pseudo_labels"])
    assert torch.equal(result.valid, case["pseudo_valid"])
    torch.testing.assert_close(result.kept_share, case["adaptive_factor"], rtol=1e-9, atol=1e-9)


def test_given_labels_stay() -> None:
    labels = torch.tensor([[[0, 0, 3, 255]]])
    sure_one = torch.tensor([0.0, 30.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 4).clone()
    sure_one[..., 1] = 0  # undecided

    result = entropy_pseudo_labels(labels, sure_one, torch.full((3,), 0.01), classes=4)

    assert result.labels.tolist() == [[[1, 255, 3, 255]]]
    assert result.kept_share.tolist() == [0.5]


def test_medians_are_those_of_the_pixels() -> None:
    make = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.randint(0, 2, (2, 40, 40), generator=make) * 5,
            torch.randn(2, 4, 40, 40, generator=make) * 2,
        )
        for _ in range(3)
    ]

    thresholds = median_thresholds(batches, old_classes=4, classes=6, floor=0.0)

    labels = torch.cat([b[0] for b in batches])
    logits = torch.cat([b[1] for b in batches])
    entropy = normalised_entropy(logits, 6)
    highest = entropy.new_tensor(1 / 4).div(torch.tensor(6.0).log()).item()
    for c in range(4):
        exact = entropy[(labels == 0) & (logits.argmax(1) == c)].median().item()
        assert thresholds[c].item() == pytest.approx(exact, abs=highest / 100)


def test_a_class_seen_nowhere_gets_the_floor() -> None:
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 1
    batches = [(torch.zeros(1, 4, 4, dtype=torch.long), logits)]

    thresholds = median_thresholds(batches, old_classes=3, classes=4, floor=0.001)

    assert thresholds[2].item() == pytest.approx(0.001)
    assert thresholds[1].item() > 0.001


def entropies(values: list[float], old_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return background labels and logits that predict class 1 with about these entropies."""
    grid = torch.linspace(0, 40, 20_001, dtype=torch.float64)
    logits = torch.zeros(1, old_classes, 1, len(grid), dtype=torch.float64)
    logits[:, 1] = grid
    found = normalised_entropy(logits, old_classes + 1)[0, 0]
    picks = torch.stack([(found - value).abs().argmin() for value in values])
    picked = logits[..., picks].expand(1, old_classes, 1, len(values))
    return torch.zeros(1, 1, len(values), dtype=torch.long), picked


def released_loop(batches: list[tuple[torch.Tensor, torch.Tensor]], floor: float) -> list[float]:
    """What PLOP's released `find_median` computes, SATS's line for infinity included."""
    histograms = torch.zeros(2, 100, dtype=torch.long)
    for labels, logits in batches:
        background = labels == 0
        found = (normalised_entropy(logits, 3)[background] * 100).long().clamp(max=99)
        for c, place in zip(logits.argmax(1)[background].tolist(), found.tolist(), strict=True):
            histograms[c, place] += 1
    thresholds = torch.zeros(2)
    for c in range(2):
        total = histograms[c].sum()
        if total <= 0:
            continue
        half = total / 2
        running_sum = 0.0
        for number in range(100):
            lower_border = number / 100
            bin_index = int(lower_border * 100)
            if half >= running_sum and half <= (running_sum + histograms[c, bin_index]):
                break
            running_sum += lower_border * 100
        count = histograms[c, bin_index].sum()
        thresholds[c] = lower_border + ((half - running_sum) / count) * (1 / 100)
    for c in range(2):
        thresholds[c] = max(thresholds[c], thresholds.new_tensor(floor))
    thresholds[torch.isinf(thresholds)] = 0.005
    return thresholds.tolist()


class TestReleasedThresholds:
    """By hand from the rule, and from the code itself."""

    def found(self, values: list[float]) -> float:
        return released_thresholds([entropies(values)], 3, 4, 0.001)[1].item()

    def test_most_of_a_class_in_the_first_bin(self) -> None:
        # However sure the model is: 0.01 * half / count, never the floor.
        assert self.found([1e-6] * 8 + [0.05] * 2) == pytest.approx(0.01 * 5 / 8)
        assert self.found([1e-6] * 10) == pytest.approx(0.005)

    def test_half_in_a_later_bin(self) -> None:
        # 0 + 1 + 2 are the numbers of the bins before it.
        found = self.found([0.001] * 3 + [0.035] * 6 + [0.095])
        assert found == pytest.approx(0.03 + 0.01 * (5 - 3) / 6)

    def test_no_bin_holds_half(self) -> None:
        labels, logits = entropies([0.001, 0.015, 0.025, 0.035, 0.045])
        many = labels.repeat(2500, 1, 1), logits.repeat(2500, 1, 1, 1)
        assert released_thresholds([many], 3, 4, 0.001)[1].item() == pytest.approx(0.005)
        assert self.found([0.001, 0.015, 0.025, 0.035, 0.045]) == pytest.approx(0.001)

    @pytest.mark.parametrize("pixels", [2, 9, 60, 600, 3_000, 12_000, 60_000])
    @pytest.mark.parametrize("sharpness", [0.1, 0.7, 2, 6, 20])
    def test_the_released_loop(self, pixels: int, sharpness: float) -> None:
        make = torch.Generator().manual_seed(pixels)
        labels = torch.randint(0, 4, (2, 1, pixels // 2), generator=make) // 3 * 2
        logits = torch.randn(2, 2, 1, pixels // 2, generator=make) * sharpness
        batches = [(labels[:1], logits[:1]), (labels[1:], logits[1:])]
        expected = pytest.approx(released_loop(batches, 0.001), rel=1e-5, nan_ok=True)
        assert released_thresholds(batches, 2, 3, 0.001).tolist() == expected

    def test_half_of_few_pixels_in_a_later_bin(self) -> None:
        # The numbers before bin 30 add up to 435, more than half of the pixels.
        assert self.found([0.2005] * 10) == pytest.approx(0.001)
        assert self.found([0.2005] * 500) == pytest.approx(0.2 + 0.01 * (250 - 190) / 500)

    def test_predicted_nowhere(self) -> None:
        assert released_thresholds([entropies([0.01])], 3, 4, 0.001)[2].item() == pytest.approx(
            0.001
        )

    def test_a_sure_model_is_believed_more_than_by_the_exact_median(self) -> None:
        batch = entropies([1e-5 * (1 + i) for i in range(40)])
        kept = {
            rule: entropy_pseudo_labels(*batch, rule([batch], 3, 4, 0.0), 4).kept_share.item()
            for rule in (released_thresholds, median_thresholds)
        }
        assert kept[released_thresholds] == 1.0
        assert kept[median_thresholds] == pytest.approx(0.5, abs=0.05)
