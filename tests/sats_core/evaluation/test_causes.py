"""Models damaged on purpose in one way each; the report must say which."""

import copy
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from sats_core.classes import Catalogue
from sats_core.data.readers import EncodedPicture, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.evaluation.causes import Causes, background_shift, drawn
from sats_core.evaluation.forgetting import ForgettingReport
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.evaluation.predict import labelled_input, normalise
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import Limits
from tests.fixtures.drawings import draw

OLD = ("a", "b", "c")
NEW = ("d",)
SIZE, PICTURES = 64, 6
CATALOGUE = Catalogue.empty().grow(OLD).grow(NEW)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [draw(rng, ["disc", "bar"], SIZE)[0] for _ in range(PICTURES)]


@pytest.fixture(scope="module")
def old(pictures: list[np.ndarray]) -> Segmenter:
    """A model whose answers are as good as any others, because they become the labels."""
    torch.manual_seed(3)
    model = Segmenter(seeded_backbone("pvt_v2_b0", 3), [1 + len(OLD)]).eval()
    with torch.no_grad():
        features = model.head(model.backbone(pixels_of(pictures, model)))
        centre = features.mean((0, 2, 3))
        spread = features.std((0, 2, 3)) + 1e-6
        rows = torch.randn(1 + len(OLD), model.head.width) / spread
        step = model.classifier.convolutions()[0]
        step.weight.copy_(rows[:, :, None, None])
        assert step.bias is not None
        # Every class is the answer somewhere.
        step.bias.copy_(-rows @ centre)
    return model


def pixels_of(pictures: list[np.ndarray], model: Segmenter) -> Tensor:
    return normalise(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), model)


@torch.no_grad()
def answers(model: Segmenter, pictures: list[np.ndarray]) -> np.ndarray:
    logits = F.interpolate(model(pixels_of(pictures, model)), (SIZE, SIZE), mode="bilinear")
    return logits.argmax(1).numpy().astype(np.uint8)


@pytest.fixture(scope="module")
def sets(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[np.ndarray], old: Segmenter
) -> Iterator[list[HeldOut]]:
    """Pictures that the old model answers perfectly, and the same labelled for the new class."""
    folder = tmp_path_factory.mktemp("sets")
    labels = answers(old, pictures)
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    new = np.zeros_like(labels)
    new[:, :32][labels[:, :32] == 0] = 1
    with (
        ZipSource(written(folder / "old.zip", pictures, labels, OLD), Limits()) as first,
        ZipSource(written(folder / "new.zip", pictures, new, NEW), Limits()) as second,
    ):
        readers = open_reader(second), open_reader(first)
        yield [
            HeldOut(reader, reader.ids, names)
            for reader, names in zip(readers, (NEW, OLD), strict=True)
        ]


def written(
    path: Path, pictures: list[np.ndarray], labels: np.ndarray, classes: tuple[str, ...]
) -> Path:
    def items() -> Iterator[EncodedPicture]:
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            out = BytesIO()
            Image.fromarray(picture).save(out, "PNG")
            yield EncodedPicture(f"{number:02d}", ".png", out.getvalue(), label)

    write_voc_zip(path, items(), classes)
    return path


@pytest.fixture
def model(old: Segmenter) -> Segmenter:
    """The old model with a row for the new class that never wins: nothing is forgotten."""
    grown = copy.deepcopy(old)
    before = grown.classifier.convolutions()[0].bias.clone()
    grown.classifier.grow(1)
    first, last = grown.classifier.convolutions()
    with torch.no_grad():
        first.bias.copy_(before)
        last.bias.fill_(-1e4)
    return grown


def report(model: Segmenter, old: Segmenter, sets: list[HeldOut]) -> ForgettingReport:
    causes = Causes(model, old)
    score(model, SIZE, CATALOGUE, {}, sets, lambda: None, old, watch=causes.add)
    found = causes.report({}, [])
    assert found.pictures == 2 * PICTURES
    return found


def quiet(found: ForgettingReport, *but: str) -> None:
    """Every figure but those named says that nothing is wrong."""
    if "lost" not in but:
        assert found.lost.share == 0
    if "false_positives" not in but:
        assert found.false_positives.on_old == found.false_positives.on_background == 0
    if "norm_ratio" not in but:
        assert 0.5 < (found.norm_ratio or 0) < 2
    if "new_masked" not in but:
        assert found.regained.new_masked == found.regained.as_is
    if "as_is" not in but:
        assert found.regained.as_is == 1
    if "representation" not in but:
        assert found.regained.background_masked == found.regained.parent_background_masked == 1
    if "alignment" not in but:
        for stage in found.alignment:
            assert stage.old == pytest.approx(1)
            assert stage.background == pytest.approx(1)
            assert stage.new == pytest.approx(1)


def test_an_undamaged_model_forgot_nothing(
    model: Segmenter, old: Segmenter, sets: list[HeldOut]
) -> None:
    found = report(model, old, sets)
    quiet(found)
    assert found.lost.to_background is None
    assert "No old-class pixel" in found.readings["lost"]
    assert "hardly ever" in found.readings["false_positives"]
    assert "did not forget" in found.readings["regained"]
    assert "nearly what it was" in found.readings["alignment"]


def test_the_background_is_compared_on_the_pictures_of_before_alone(
    model: Segmenter, sets: list[HeldOut]
) -> None:
    """It never finds the new class, which costs the background on the step's own pictures."""
    found = score(model, SIZE, CATALOGUE, {}, sets, lambda: None).scores
    assert found.earlier_background == pytest.approx(1, abs=0.02)
    whole = found.iou["background"]
    assert whole is not None
    assert whole < 0.95
    with torch.no_grad():
        bias = model.classifier.convolutions()[0].bias
        assert bias is not None
        bias[0] += 1e4
    drifted = score(model, SIZE, CATALOGUE, {}, sets, lambda: None).scores.earlier_background
    assert drifted is not None
    assert drifted < 0.5
    assert (
        score(model, SIZE, CATALOGUE, {}, sets[:1], lambda: None).scores.earlier_background is None
    )


def test_a_raised_background_takes_old_pixels(
    model: Segmenter, old: Segmenter, sets: list[HeldOut]
) -> None:
    with torch.no_grad():
        model.classifier.convolutions()[0].bias[0] += 5
    found = report(model, old, sets)
    quiet(found, "lost", "as_is")
    assert (found.lost.share or 0) > 0.05
    assert found.lost.to_background == 1
    assert (found.regained.as_is or 1) < 0.95
    assert found.regained.background_masked == 1
    assert "most went to background" in found.readings["lost"]


def test_a_raised_new_class_takes_old_pixels_and_masking_it_brings_them_back(
    model: Segmenter, old: Segmenter, sets: list[HeldOut]
) -> None:
    with torch.no_grad():
        model.classifier.convolutions()[1].bias.copy_(torch.tensor([3.0]))
        model.classifier.convolutions()[1].weight.zero_()
    found = report(model, old, sets)
    quiet(found, "lost", "false_positives", "new_masked", "as_is", "norm_ratio")
    assert found.lost.to_new == 1
    assert (found.false_positives.on_old or 0) > 0.05
    assert (found.false_positives.on_background or 0) > 0.05
    assert found.regained.new_masked == 1
    assert "most went to new classes" in found.readings["lost"]
    assert "New classes are seen on" in found.readings["false_positives"]


def test_masking_costs_nothing_on_pixels_of_no_old_class(
    model: Segmenter, old: Segmenter, sets: list[HeldOut]
) -> None:
    """The new class sits where background was; masked, these pixels fall to old classes."""
    first, last = model.classifier.convolutions()
    with torch.no_grad():
        last.weight.copy_(first.weight[:1])
        last.bias.copy_(first.bias[:1])
        first.bias[0] -= 100
    found = report(model, old, sets)
    quiet(found, "false_positives", "norm_ratio")
    assert (found.false_positives.on_background or 0) > 0.05


def test_swapped_rows_send_pixels_to_other_old_classes(
    model: Segmenter, old: Segmenter, sets: list[HeldOut]
) -> None:
    step = model.classifier.convolutions()[0]
    with torch.no_grad():
        step.weight[[1, 2]] = step.weight[[2, 1]].clone()
        step.bias[[1, 2]] = step.bias[[2, 1]].clone()
    found = report(model, old, sets)
    quiet(found, "lost", "as_is", "representation")
    assert found.lost.to_old == 1
    assert (found.regained.background_masked or 1) < 0.9
    assert "most went to other old classes" in found.readings["lost"]
    assert "the features themselves forgot" in found.readings["regained"]


def test_a_damaged_stage_is_found(model: Segmenter, old: Segmenter, sets: list[HeldOut]) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.backbone.net.stages[2].parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    found = report(model, old, sets)
    quiet(found, "lost", "as_is", "representation", "alignment", "new_masked")
    first, second, third, fourth = (stage.old or 0 for stage in found.alignment)
    assert first == second == pytest.approx(1)
    assert third < 0.9
    assert fourth < 0.99
    assert "changed most" in found.readings["alignment"]
    assert (found.regained.background_masked or 1) < 0.95


def test_long_new_rows_are_found(model: Segmenter, old: Segmenter, sets: list[HeldOut]) -> None:
    before = report(model, old, sets).norm_ratio
    with torch.no_grad():
        model.classifier.convolutions()[1].weight.mul_(3)
    found = report(model, old, sets)
    quiet(found, "norm_ratio")
    assert found.norm_ratio == pytest.approx(3 * (before or 0), rel=1e-5)
    assert "predicted over old" in found.readings["norm_ratio"]


def test_old_classes_in_the_background_are_found(
    old: Segmenter, pictures: list[np.ndarray]
) -> None:
    sure = copy.deepcopy(old)
    with torch.no_grad():
        step = sure.classifier.convolutions()[0]
        step.weight.mul_(1000)
        step.bias.mul_(1000)
    labels = answers(old, pictures)
    hidden = np.zeros_like(labels)
    shown = np.where(labels > 0, 255, 0).astype(np.uint8)

    def trained(marks: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        return [
            labelled_input(picture, mark, SIZE, old)
            for picture, mark in zip(pictures, marks, strict=True)
        ]

    share = (labels > 0).mean()
    assert background_shift(sure, trained(hidden)) == pytest.approx(share, abs=0.01)
    assert background_shift(sure, trained(shown)) == pytest.approx(0, abs=0.01)
    assert background_shift(sure, []) is None


def test_no_held_out_pictures_measure_nothing(model: Segmenter, old: Segmenter) -> None:
    found = Causes(model, old).report({}, [])
    assert found.lost.share is None
    assert found.regained.as_is is None
    assert all(stage.old is None for stage in found.alignment)
    assert "Not measured" in found.readings["lost"]


def test_forgetting_names_the_worst_class(model: Segmenter, old: Segmenter) -> None:
    lost = {"a": 0.1, "b": 0.3}
    found = Causes(model, old).report(lost, [])
    assert found.forgetting == lost
    assert found.readings["forgetting"].startswith("b lost most: 0.300")


def test_at_most_200_are_looked_at() -> None:
    assert list(drawn(200)) == list(range(200))
    picked = drawn(1000)
    assert len(set(picked)) == 200
    assert list(picked) == sorted(picked)
    assert 0 <= picked[0] < picked[-1] < 1000


def test_a_picture_is_read_once_and_seen_once_by_each_model(
    model: Segmenter, old: Segmenter, sets: list[HeldOut], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    passes = {"new": 0, "old": 0}
    for reader in {one.reader for one in sets}:
        read_one = reader.read
        monkeypatch.setattr(
            reader, "read", lambda name, it=read_one: read.append(name) or it(name), raising=True
        )

    def counting(name: str) -> Callable[..., None]:
        def count(*_: object) -> None:
            passes[name] += 1

        return count

    hooks = [
        one.backbone.register_forward_hook(counting(name))
        for name, one in (("new", model), ("old", old))
    ]
    report(model, old, sets)
    for hook in hooks:
        hook.remove()
    assert len(read) == 2 * PICTURES
    assert passes == {"new": 2 * PICTURES, "old": 2 * PICTURES}
