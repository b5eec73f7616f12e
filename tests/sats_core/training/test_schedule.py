from typing import Any

import pytest
import torch
from torch import nn

from sats_core.settings import StepSettings
from sats_core.training.schedule import filled_in, make_optimizer, moments_of, rate_at


@pytest.mark.parametrize(
    ("optimizer", "base", "rate", "decay"),
    [
        ("adamw", True, 6e-4, 0.01),
        ("adamw", False, 2e-4, 0.01),
        ("sgd", True, 0.01, 1e-4),
        ("sgd", False, 0.001, 1e-4),
    ],
)
def test_what_is_left_out_hangs_on_the_optimiser_and_the_step(
    optimizer: str, base: bool, rate: float, decay: float
) -> None:
    filled = filled_in(StepSettings(optimizer=optimizer), base)
    assert (filled.learning_rate, filled.weight_decay) == (rate, decay)


@pytest.mark.parametrize("base", [True, False])
def test_what_is_said_stays_but_a_base_step_fuses_nothing(base: bool) -> None:
    said = StepSettings(learning_rate=0.5, weight_decay=0.0, fusion=True, epochs=7)
    assert filled_in(said, base) == said.model_copy(update={"fusion": not base})
    unfused = said.model_copy(update={"fusion": False})
    assert filled_in(unfused, base) == unfused


def small_model() -> nn.Module:
    """A convolution, a norm, a convolution that is not trained, and a matrix."""
    layers = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1), nn.Linear(3, 3)
    model = nn.Sequential(*layers)
    model[2].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
        ("adamw", torch.optim.AdamW, {"fused": True}),
    ],
)
def test_weights_are_decayed_norms_and_biases_are_not(
    name: str, kind: type, options: dict[str, Any]
) -> None:
    model = small_model()
    chosen = StepSettings(optimizer=name, learning_rate=0.25, weight_decay=0.125)
    optimizer = make_optimizer(model, chosen)
    assert type(optimizer) is kind
    weights, rest = optimizer.param_groups
    assert weights["params"] == [model[0].weight, model[3].weight]
    assert rest["params"] == [model[0].bias, *model[1].parameters(), model[3].bias]
    assert [group["weight_decay"] for group in (weights, rest)] == [0.125, 0.0]
    assert [group["lr"] for group in (weights, rest)] == [0.25, 0.25]
    assert {option: weights[option] for option in options} == options


def test_the_rate_rises_then_falls_as_published() -> None:
    settings = StepSettings(learning_rate=0.5, warmup=0.1)
    rates = [rate_at(step, 100, settings) for step in range(100)]
    assert rates[:3] == pytest.approx([0.5 / 11, 1.0 / 11, 1.5 / 11])
    assert rates[9] == pytest.approx(5 / 11)
    assert rates[10] == 0.5
    assert rates[55] == pytest.approx(0.5 * 0.5**0.9)
    assert rates[99] == pytest.approx(0.5 * (1 / 90) ** 0.9)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    flat = settings.model_copy(update={"warmup": 0.0})
    assert rate_at(0, 100, flat) == 0.5
    assert [rate_at(step, 1, settings) for step in range(1)] == [0.5]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_moments_of_weights_that_are_trained_take_what_is_foretold(name: str) -> None:
    model = small_model()
    chosen = StepSettings(optimizer=name, learning_rate=0.1, weight_decay=0.0)
    optimizer = make_optimizer(model, chosen)
    model(torch.ones(2, 1, 3, 3)).sum().backward()
    optimizer.step()
    kept = [t for state in optimizer.state.values() for t in state.values() if t is not None]
    taken = sum(tensor.nbytes for tensor in kept if tensor.ndim)  # a count of steps has none
    assert moments_of(model, chosen) == taken > 0
