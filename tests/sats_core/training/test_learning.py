"""Whether steps learn: figures of small runs, which a change of the learning shows in.

The golden values are of one machine. The bands around them are wider than what another CPU's order
of additions does, and narrower than what a broken term, schedule or optimiser does.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sats_core.methods import METHODS, Finetune, make_method
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training import loop
from sats_core.training.schedule import make_optimizer, rate_at
from tests.fixtures.backbones import TINY
from tests.sats_core.training.drawn_steps import SIZE, ious, scenes, trained

OLD, NEW = ("fish", "cup"), ("leaf",)
DESCENDING = sorted(name for name, kind in METHODS.items() if issubclass(kind, Finetune))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The order of additions, and so the last digits, hang on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def untrained(backbone: str = TINY) -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(seeded_backbone(backbone, 0), [len(OLD) + 1])


def grown(model: Segmenter) -> Segmenter:
    new = copy.deepcopy(model)
    new.classifier.grow(len(NEW))
    return new


MIOU = 0.586
"""Of background, fish and cup after the base step."""


@pytest.mark.slow
def test_a_base_step_learns_and_a_method_forgets_less_than_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, told = trained(
        untrained("pvt_v2_b0"),
        None,
        scenes(OLD, OLD, 80, 1),
        tmp_path / "base",
        monkeypatch,
        epochs=9,
        batch_size=8,
        learning_rate=1e-3,
    )
    assert told.means[90] < told.means[1] / 2
    held_out = scenes(OLD, OLD, 24, 2)
    before = ious(base, held_out)
    assert np.mean(before) == pytest.approx(MIOU, abs=0.05)
    step = scenes((*OLD, *NEW), NEW, 40, 3)
    forgotten = {}
    for method in ("finetune", "sats"):
        changes = {"method": method, "epochs": 6, "batch_size": 8}
        model, _ = trained(grown(base), base, step, tmp_path / method, monkeypatch, **changes)
        after = ious(model, held_out)
        forgotten[method] = np.mean(before[1:]) - np.mean(after[1:])  # background is no old class
    assert forgotten["finetune"] > forgotten["sats"] + 0.1, forgotten


GOLDEN = {
    "finetune": (2.5394, 1.2533, 0.82981),
    "ilt": (5.2081, 3.9175, 3.5505),
    "joint": (2.5394, 1.2533, 0.82981),
    "kfac": (0.76864, 0.62646, 0.73715),
    "lwf": (29.226, 24.608, 22.954),
    "mib": (10.500, 10.482, 9.2733),
    "plop": (0.15543, 0.15896, 0.14015),
    "residual": (0.76864, 0.62121, 0.73345),
    "sats": (5.4257, 5.1327, 4.5758),
    "sats_plus": (9.9989, 9.9113, 8.8920),
}
"""The loss at step 1, and its mean over the first 5 and the first 20."""
WIDE = (0.002, 0.01, 0.05)


@pytest.mark.parametrize("name", DESCENDING)
def test_losses_of_the_first_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = untrained().eval()
    with torch.no_grad():  # sure of something, so that there is something to forget
        old.classifier.steps[0].weight.mul_(30)
    pictures = scenes((*OLD, *NEW), NEW, 40, 3)
    chosen = {"optimizer": "sgd", "learning_rate": 0.01, "epochs": 1, "batch_size": 2}
    _, told = trained(grown(old), old, pictures, tmp_path, monkeypatch, method=name, **chosen)
    found = tuple(told.means[step] for step in (1, 5, 20))
    for value, golden, share in zip(found, GOLDEN[name], WIDE, strict=True):
        assert value == pytest.approx(golden, rel=share), (name, found)


def test_the_optimiser_steps_at_the_rate_of_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[list[float]] = []

    def watched(model: Segmenter, settings: StepSettings) -> torch.optim.Optimizer:
        optimizer = make_optimizer(model, settings)
        optimizer.register_step_pre_hook(
            lambda optimizer, *_: applied.append([g["lr"] for g in optimizer.param_groups])
        )
        return optimizer

    monkeypatch.setattr(loop, "make_optimizer", watched)
    chosen = {"learning_rate": 0.01, "warmup": 0.5, "epochs": 2, "batch_size": 2}
    _, told = trained(untrained(), None, scenes(OLD, OLD, 4, 1), tmp_path, monkeypatch, **chosen)
    settings = StepSettings(**chosen)
    expected = [rate_at(step, 4, settings) for step in range(4)]
    assert told.rates == expected
    assert applied == [[rate, rate] for rate in expected]


class DeviceNamed(TorchFunctionMode):
    """Refuses to make a tensor where nobody says on which device: it would lie on the CPU."""

    FACTORIES = (
        *(torch.arange, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones),
        *(torch.rand, torch.randint, torch.randn, torch.randperm, torch.tensor, torch.zeros),
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.FACTORIES and kwargs.get("device") is None:
            raise AssertionError(f"torch.{func.__name__} without a device")
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", DESCENDING)
def test_a_training_step_makes_no_tensor_without_a_device(name: str) -> None:
    old = untrained().eval()
    method = make_method(StepSettings(method=name), grown(old), old)
    assert isinstance(method, Finetune)
    pixels = torch.randn(2, 3, SIZE, SIZE)
    labels = torch.zeros(2, SIZE, SIZE, dtype=torch.long)
    labels[:, 10:40, 10:40] = len(OLD) + 1
    method.prepare([(pixels, labels)])
    with DeviceNamed():
        terms: dict[str, Tensor] = dict(method.loss_terms(pixels, labels))
        torch.stack(list(terms.values())).sum().backward()


@pytest.mark.parametrize("name", DESCENDING)
def test_in_bfloat16_the_losses_are_nearly_those_of_float32(name: str) -> None:
    """As where a CPU has the instructions, or a GPU computes; this machine need not."""
    old = untrained().eval()
    method = make_method(StepSettings(method=name), grown(old).eval(), old)
    assert isinstance(method, Finetune)
    pixels = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(2, SIZE, SIZE, dtype=torch.long)
    labels[:, 10:40, 10:40] = len(OLD) + 1
    method.prepare([(pixels, labels)])
    exact = method.loss_terms(pixels, labels)
    with torch.autocast("cpu", torch.bfloat16):
        terms = method.loss_terms(pixels, labels)
    assert terms.keys() == exact.keys()
    for term, value in terms.items():
        assert value.dtype == torch.float32, term
        assert value.item() == pytest.approx(exact[term].item(), rel=0.05, abs=0.02), term
    torch.stack(list(terms.values())).sum().backward()
    gradients = [p.grad for p in method.model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_watch_for_devices_sees_one_that_is_missing() -> None:
    with DeviceNamed():
        torch.zeros(1, device="cpu")
        with pytest.raises(AssertionError, match=r"torch.arange without"):
            torch.arange(3)
