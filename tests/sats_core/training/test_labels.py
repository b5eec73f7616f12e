"""Useless and hostile labels: each gives its warning, and good ones give none."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sats_core.data.cache import PictureCache
from sats_core.data.readers import EncodedPicture, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.evaluation.held_out import HeldOut
from sats_core.events import ProgressEvent
from sats_core.job import Limits, StepJob
from sats_core.label_report import LabelReport
from sats_core.training import labels
from sats_core.training.labels import examine_labels
from sats_core.training.loop import StoppedError
from sats_core.training.pictures import Shares, gather
from sats_core.training.progress import Emit
from sats_core.training.start import Start, begin
from tests.fixtures.drawings import voc_zip
from tests.sats_core.training.conftest import make_job, never

Label = np.ndarray


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voc_zip(
        tmp_path_factory.mktemp("labels") / "good.zip",
        ["ring"],
        20,
        64,
        seed=3,
        objects=1,
        suffix="png",
    )


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, good: Path) -> Start:
    return begin(make_job(tmp_path_factory.mktemp("start"), good, ("ring",)))


def relabelled(path: Path, source: Path, change: Callable[[int, list[Label]], Label]) -> Path:
    """Write the pictures of a zip again, with other labels."""
    with ZipSource(source, Limits()) as opened:
        reader = open_reader(opened)
        items = [reader.encoded(picture_id) for picture_id in reader.ids]
        labels = [item.label for item in items]
        items = [replace(item, label=change(i, labels)) for i, item in enumerate(items)]
        write_voc_zip(path, items, reader.classes)
    return path


def _quiet(_event: object) -> None:
    pass


def examine(
    folder: Path,
    dataset: Path,
    start: Start,
    earlier: list[HeldOut] | None = None,
    emit: Emit = _quiet,
) -> LabelReport:
    job = make_job(folder, dataset, ("ring",))
    job.work.mkdir(exist_ok=True)
    with ZipSource(dataset, Limits()) as source, PictureCache(folder / "raw", 32) as cache:
        gathered = gather(open_reader(source), job, start.catalogue, cache, _quiet, never)
        return examine_labels(start, ("ring",), gathered, cache, earlier or [], emit, never)


def faults(report: LabelReport) -> list[str]:
    return [warning.fault for warning in report.warnings]


def test_good_labels_give_figures_and_no_warning(tmp_path: Path, good: Path, start: Start):
    report = examine(tmp_path, good, start)
    assert report.warnings == ()
    assert (report.pictures, report.duplicates, report.held_out_duplicates) == (16, 0, 0)
    (ring,) = report.classes
    assert ring.class_name == "ring"
    assert ring.pictures == 16
    assert ring.share == pytest.approx(ring.share_where_shown)
    assert 0.02 < ring.share < 0.5
    assert ring.outline_fit is not None
    assert ring.outline_fit > 0.1
    assert (ring.called, ring.called_share, ring.told_apart) == (None, None, None)


def test_labels_of_other_pictures_are_told(tmp_path: Path, good: Path, start: Start):
    shuffled = relabelled(tmp_path / "a.zip", good, lambda i, labels: labels[(i + 7) % 20])
    report = examine(tmp_path, shuffled, start)
    assert faults(report) == ["outlines"]
    assert report.serious == tuple(warning.message for warning in report.warnings)


def test_a_class_that_covers_everything_is_told(tmp_path: Path, good: Path, start: Start):
    flooded = relabelled(tmp_path / "a.zip", good, lambda i, labels: np.ones_like(labels[i]))
    report = examine(tmp_path, flooded, start)
    assert faults(report) == ["covers_everything"]
    assert "100%" in report.warnings[0].message


def test_few_pictures_are_told_and_hold_nothing(tmp_path: Path, start: Start):
    few = voc_zip(tmp_path / "few.zip", ["ring"], pictures=6, size=64, seed=4, objects=1)
    report = examine(tmp_path, few, start)
    assert faults(report) == ["few_pictures"]
    assert report.serious == ()


def test_copies_of_held_out_pictures_are_told(tmp_path: Path, good: Path, start: Start):
    """The data set's own validation pictures, trained on under another name."""
    path = tmp_path / "copies.zip"
    with ZipSource(good, Limits()) as opened:
        reader = open_reader(opened)
        items = [reader.encoded(picture_id) for picture_id in reader.ids]
        copies = [
            EncodedPicture(f"copy{i}", x.suffix, x.data, x.label) for i, x in enumerate(items[:3])
        ]
        write_voc_zip(path, [*items, *copies], reader.classes)
    with zipfile.ZipFile(path, "a") as archive:
        ids = [item.id for item in items]
        archive.writestr("ImageSets/Segmentation/val.txt", "\n".join(ids[:4]) + "\n")
        trained = [*ids[4:], "copy0", "copy1", "copy2"]
        archive.writestr("ImageSets/Segmentation/train.txt", "\n".join(trained) + "\n")
    report = examine(tmp_path, path, start)
    assert (faults(report), report.held_out_duplicates) == (["held_out_duplicates"], 3)


def test_copies_of_pictures_kept_from_earlier_tasks_are_told(
    tmp_path: Path, good: Path, start: Start
):
    with ZipSource(good, Limits()) as opened:
        reader = open_reader(opened)
        report = examine(tmp_path, good, start, [HeldOut(reader, reader.ids, ("disc",))])
    assert (faults(report), report.held_out_duplicates) == (["held_out_duplicates"], 16)


def test_copies_of_pictures_that_may_not_be_told_of_are_not_counted(
    tmp_path: Path, good: Path, start: Start
):
    with ZipSource(good, Limits()) as opened:
        reader = open_reader(opened)
        hidden = HeldOut(reader, reader.ids, ("disc",), compared=False)
        report = examine(tmp_path, good, start, [hidden])
    assert (faults(report), report.held_out_duplicates) == ([], 0)


def test_shares_are_summed_up_picture_by_picture():
    shares = Shares({"ring": 3, "cross": 4})
    shares.add(np.array([[3, 3, 0, 255]], np.uint8))
    shares.add(np.array([[4, 0, 0, 0]], np.uint8))
    shares.add(np.array([[3, 4, 4, 0]], np.uint8))
    shares.add(np.full((1, 4), 255, np.uint8))
    assert shares.of("ring") == (pytest.approx(3 / 11), pytest.approx((2 / 3 + 1 / 4) / 2))
    assert shares.of("cross") == (pytest.approx(3 / 11), pytest.approx((1 / 4 + 2 / 4) / 2))
    assert Shares({"ring": 1}).of("ring") == (0.0, 0.0)


def test_of_many_kept_pictures_a_bounded_number_is_read(
    tmp_path: Path, good: Path, start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(labels, "MOST_KEPT", 5)
    told: list[object] = []
    with ZipSource(good, Limits()) as opened:
        reader = open_reader(opened)
        sets = [HeldOut(reader, reader.ids[:4], ("disc",)), HeldOut(reader, reader.ids, ("bar",))]
        report = examine(tmp_path, good, start, sets, told.append)
    steps = [event.step for event in told if isinstance(event, ProgressEvent)]
    assert (steps[0], steps[-1]) == (0, 5)
    assert 0 < report.held_out_duplicates <= 5


def test_an_old_class_is_looked_at_once_for_all_new_ones(
    tmp_path: Path, base: StepJob, monkeypatch: pytest.MonkeyPatch
):
    names = ["ring", "cross"]
    data = voc_zip(tmp_path / "two.zip", names, 20, 64, seed=3, objects=1, suffix="png")
    kept = voc_zip(tmp_path / "kept.zip", ["disc", "bar"], 10, 64, seed=4, objects=1)
    job = make_job(tmp_path, data, names, first_index=3, old_version=base.result / "version")
    job.work.mkdir()
    start = begin(job)
    assert start.old is not None
    with torch.no_grad():  # a model that sees discs everywhere
        start.old.model.classifier.steps[0].bias[1] += 100
    seen: list[int] = []
    with (
        ZipSource(data, Limits()) as source,
        ZipSource(kept, Limits()) as opened,
        PictureCache(tmp_path / "raw", 32) as cache,
    ):
        gathered = gather(open_reader(source), job, start.catalogue, cache, _quiet, never)
        reader = open_reader(opened)
        label = reader.label
        monkeypatch.setattr(reader, "label", lambda one: seen.append(1) or label(one))
        earlier = [HeldOut(reader, reader.ids, ("disc",))]
        report = examine_labels(start, names, gathered, cache, earlier, _quiet, never)
    assert [one.called for one in report.classes] == ["disc", "disc"]
    assert len(seen) == len(reader.ids)


def test_pictures_posted_twice_are_told(tmp_path: Path, good: Path, start: Start):
    path = tmp_path / "twice.zip"
    with ZipSource(good, Limits()) as opened:
        reader = open_reader(opened)
        items = [reader.encoded(picture_id) for picture_id in reader.ids[:10]]
        copies = [EncodedPicture(f"z{x.id}", x.suffix, x.data, x.label) for x in items]
        write_voc_zip(path, [*items, *copies], reader.classes)
    report = examine(tmp_path, path, start)
    assert "duplicates" in faults(report)
    assert report.duplicates > 4


def test_an_old_class_under_another_name_is_told(tmp_path: Path, good: Path, base: StepJob):
    job = make_job(tmp_path, good, ("ring",), first_index=3, old_version=base.result / "version")
    start = begin(job)
    assert start.old is not None
    with torch.no_grad():  # a model that sees discs everywhere
        start.old.model.classifier.steps[0].bias[1] += 100
    report = examine(tmp_path, good, start)
    (ring,) = report.classes
    assert (ring.called, ring.called_share) == ("disc", 1.0)
    assert faults(report) == ["known_class"]
    assert "100% of the pixels labelled 'ring' are 'disc'" in report.warnings[0].message


def test_it_stops_when_asked(tmp_path: Path, good: Path, start: Start):
    job = make_job(tmp_path, good, ("ring",))
    job.work.mkdir()
    with ZipSource(good, Limits()) as source, PictureCache(tmp_path / "raw", 32) as cache:
        gathered = gather(open_reader(source), job, start.catalogue, cache, _quiet, never)
        with pytest.raises(StoppedError):
            examine_labels(start, ("ring",), gathered, cache, [], _quiet, lambda: True)
