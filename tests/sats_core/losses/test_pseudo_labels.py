from typing import Any

import pytest
import torch

from sats_core.losses import entropy_pseudo_labels, median_thresholds
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
    torch.testing.assert_close(result.kept, case["adaptive_factor"], rtol=1e-9, atol=1e-9)


def test_given_labels_stay() -> None:
    labels = torch.tensor([[[0, 0, 3, 255]]])
    sure_one = torch.tensor([0.0, 30.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 1, 4).clone()
    sure_one[..., 1] = 0  # undecided

    result = entropy_pseudo_labels(labels, sure_one, torch.full((3,), 0.01), classes=4)

    assert result.labels.tolist() == [[[1, 255, 3, 255]]]
    assert result.kept.tolist() == [0.5]


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
