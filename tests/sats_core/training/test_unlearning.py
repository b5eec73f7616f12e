"""What unlearning looks at, and what it does to the head."""

import copy
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sats_core.classes import IGNORE
from sats_core.data.cache import PictureCache
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import predict
from sats_core.events import Event, WarningEvent
from sats_core.method_settings import UnlearnSettings
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import Limits, StepSettings
from sats_core.training import unlearning
from sats_core.training.at_hand import AtHand, Source
from sats_core.training.loop import StoppedError
from sats_core.training.schedule import filled_in
from sats_core.training.unlearning import HEAD_STAYS, Before, Cached, cached, unlearned
from tests.fixtures.backbones import TINY
from tests.fixtures.drawings import voc_zip
from tests.sats_core.training.conftest import never

SIZE = 64


@pytest.fixture(scope="module")
def before() -> Before:
    """A model of disc, bar and ring, of which bar goes."""
    torch.manual_seed(0)
    model = Segmenter(seeded_backbone(TINY, 0), [4]).eval()
    with torch.no_grad():
        for row in model.classifier.convolutions():
            row.weight.mul_(5)
    return Before(model, SIZE, ("disc", "bar", "ring"), (2,))


Seen = tuple[Pixels, Pixels]


def looked_at(before: Before, folder: Path, *labelled_for: str) -> list[Seen]:
    """Return each picture with its label in the cache."""
    folder.mkdir(exist_ok=True)
    path = voc_zip(folder / "drawn.zip", ["disc", "bar", "ring"], pictures=6, size=SIZE, seed=1)
    with ExitStack() as stack:
        reader = open_reader(stack.enter_context(ZipSource(path, Limits())))
        source = Source(reader, labelled_for, "posted")
        pictures = [AtHand(source, each, frozenset({"bar"})) for each in reader.ids]
        cache = cached(stack, folder, before, pictures, 0, lambda: None).showing
        return [cache[place] for place in range(len(pictures))]


def test_labels_are_what_goes_then_what_stays(before: Before, tmp_path: Path) -> None:
    assert before.labels == {"bar": 1, "disc": 2, "ring": 3}
    assert (before.names, before.values) == (("bar",), {"bar": 1})
    labels = [label for _, label in looked_at(before, tmp_path, "disc", "bar", "ring")]
    assert {int(value) for label in labels for value in np.unique(label)} == {0, 1, 2, 3}


def test_what_a_picture_is_not_labelled_for_is_what_the_model_finds(
    before: Before, tmp_path: Path
) -> None:
    whole = looked_at(before, tmp_path / "whole", "disc", "bar", "ring")
    partly = looked_at(before, tmp_path / "partly", "disc")
    filled = 0
    for (picture, truth), (_, label) in zip(whole, partly, strict=True):
        found = predict(before.model, picture, SIZE)
        meant = np.array([0, 0, IGNORE, 3])[found]  # disc is labelled, bar goes, ring stays
        np.testing.assert_array_equal(label, np.where(truth == 2, 2, meant))
        filled += int((label == 3).sum())
    assert filled


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Cached]:
    rng = np.random.default_rng(0)
    with (
        PictureCache(tmp_path / "showing.raw", SIZE) as showing,
        PictureCache(tmp_path / "others.raw", SIZE) as others,
    ):
        for cache, values in ((showing, (0, 1)), (others, (0, 2, 3))):
            for _ in range(4):
                picture = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
                label = np.repeat(rng.choice(values, (8, 8)).astype(np.uint8), 8, axis=0)
                cache.add(picture, np.repeat(label, 8, axis=1))
        yield Cached(showing, others, "kept")


def run(
    before: Before,
    pictures: Cached,
    work: Path,
    epochs: int = 1,
    should_stop: Callable[[], bool] = never,
) -> tuple[Segmenter, Segmenter, list[Event]]:
    """Unlearn; returns what it started from, what came of it, and what was told."""
    work.mkdir(exist_ok=True)
    teacher = copy.deepcopy(before.model)
    teacher.classifier = before.classifier.without(before.gone)
    settings = StepSettings(
        backbone=TINY, size=SIZE, epochs=epochs, batch_size=4, learning_rate=1e-4, seed=3
    )
    events: list[Event] = []
    model = unlearned(
        *(before, teacher, pictures, filled_in(settings, base=False), UnlearnSettings()),
        *(work, "f", events.append, should_stop),
    )
    return teacher, model, events


def alike(first: Segmenter, second: Segmenter) -> float:
    """Cosine of the weights that mix the stages."""
    one, other = (model.head.mix.weight.flatten() for model in (first, second))
    return torch.cosine_similarity(one, other, dim=0).item()


def statistics(model: Segmenter) -> Tensor:
    """The running means of the head's norm."""
    norm = model.head.finish[0]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    return norm.running_mean


def reinitialise_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "LEAST_TO_REINITIALISE", 4)
    monkeypatch.setattr(unlearning, "LEAST_EPOCHS_TO_REINITIALISE", 1)


def test_the_head_is_taught_anew_where_pictures_suffice(
    before: Before, pictures: Cached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reinitialise_soon(monkeypatch)
    teacher, model, events = run(before, pictures, tmp_path)
    assert abs(alike(teacher, model)) < 0.2
    assert not torch.equal(statistics(teacher), statistics(model)), "its norm learns along"
    assert not any(isinstance(event, WarningEvent) for event in events)


def test_a_head_that_is_taught_anew_goes_on_from_its_last_epoch(
    before: Before, pictures: Cached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reinitialise_soon(monkeypatch)
    _, whole, _ = run(before, pictures, tmp_path / "whole", epochs=3)
    asked = 0

    def after_an_epoch() -> bool:
        nonlocal asked
        asked += (tmp_path / "cut" / "checkpoint.safetensors").exists()
        return asked > 2

    with pytest.raises(StoppedError):
        run(before, pictures, tmp_path / "cut", epochs=3, should_stop=after_an_epoch)
    _, resumed, _ = run(before, pictures, tmp_path / "cut", epochs=3)
    expected = whole.state_dict()
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("least", ["LEAST_TO_REINITIALISE", "LEAST_EPOCHS_TO_REINITIALISE"])
def test_with_too_little_it_stays(
    before: Before,
    pictures: Cached,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    least: str,
) -> None:
    was = getattr(unlearning, least)
    reinitialise_soon(monkeypatch)
    monkeypatch.setattr(unlearning, least, was)
    teacher, model, events = run(before, pictures, tmp_path)
    assert alike(teacher, model) > 0.9
    assert [e.message for e in events if isinstance(e, WarningEvent)] == [HEAD_STAYS]
    assert torch.equal(statistics(teacher), statistics(model))


def test_what_is_told_of_made_up_pictures_is_not_told_twice(
    before: Before, pictures: Cached, tmp_path: Path
) -> None:
    _, _, events = run(before, replace(pictures, saw="noise"), tmp_path)
    assert not any(isinstance(event, WarningEvent) for event in events)


def test_a_new_head_is_the_seeds(before: Before) -> None:
    def reinitialised(seed: int) -> bytes:
        model = copy.deepcopy(before.model)
        torch.manual_seed(99)
        model.reinitialise_head(seed)
        assert torch.rand(()).item() == drawn, "other random numbers are as they were"
        written = io.BytesIO()
        np.save(written, torch.cat([w.detach().flatten() for w in model.head.parameters()]).numpy())
        return written.getvalue()

    torch.manual_seed(99)
    drawn = torch.rand(()).item()
    assert reinitialised(1) == reinitialised(1)
    assert reinitialised(1) != reinitialised(2)
