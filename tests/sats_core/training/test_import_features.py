"""What an import keeps of labelled pictures, and that the next step uses it."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sats_core.errors import DatasetError
from sats_core.events import Event, ProgressEvent
from sats_core.export import LoadedVersion, load_version
from sats_core.job import ImportJob, ImportResult, Limits
from sats_core.training import import_features
from sats_core.training.import_model import run_import
from tests.fixtures.drawings import voc_zip
from tests.fixtures.segformer import random_segformer
from tests.sats_core.training.conftest import make_job, never, run

BOTH = {"train": 4, "val": 2}

Import = Callable[..., tuple[LoadedVersion, ImportResult, list[Event]]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "segformer"
    random_segformer(folder, ["background", "disc", "bar"], size=(64, 64))
    return folder


@pytest.fixture
def imported(tmp_path: Path, checkpoint: Path) -> Import:
    """Imports the checkpoint with drawn pictures."""

    def do(
        classes: tuple[str, ...] = ("disc", "bar"),
        splits: dict[str, int] | None = None,
        **changes: Any,
    ) -> tuple[LoadedVersion, ImportResult, list[Event]]:
        pictures = voc_zip(tmp_path / "data.zip", classes, pictures=6, size=48, splits=splits)
        job = ImportJob(
            **{
                "source": checkpoint,
                "source_name": "acme/segformer",
                "classes": ("disc", "bar"),
                "indices": (1, 2),
                "evaluate": pictures,
                "limits": Limits(),
                "threads": 1,
                "work": tmp_path / "work",
                "result": tmp_path / "result",
                **changes,
            }
        )
        events: list[Event] = []
        run_import(job, events.append, never)
        result = ImportResult.model_validate_json((job.result / "result.json").read_bytes())
        return load_version(job.result / "version"), result, events

    return do


def test_train_pictures_give_features_and_the_others_score(imported: Import) -> None:
    version, result, events = imported(splits=BOTH, features=300)
    assert version.features is not None
    assert set(version.features.labels.tolist()) == {0, 1, 2}
    assert 100 < len(version.features.labels) <= 300
    assert set(version.features.hides.tolist()) == {1}, "all its classes are labelled"
    assert version.config["kept_features"] == len(version.features.labels)
    assert result.held_out_pictures == 2
    evaluated = [e for e in events if isinstance(e, ProgressEvent) and e.phase == "evaluating"]
    assert evaluated[-1].step == evaluated[-1].steps == 6


@pytest.mark.parametrize("splits", [None, {"train": 6}, {"val": 6}])
def test_one_set_of_pictures_scores_and_teaches_nothing(
    imported: Import, splits: dict[str, int] | None
) -> None:
    version, result, _ = imported(splits=splits)
    assert version.features is None
    assert result.held_out_pictures == 6


def test_who_must_not_keep_features_keeps_none(imported: Import) -> None:
    version, result, _ = imported(splits=BOTH, features=0)
    assert version.features is None
    assert result.held_out_pictures == 2


def test_background_may_hide_what_the_pictures_do_not_label(imported: Import) -> None:
    version, _, _ = imported(("bar", "cone"), splits=BOTH)
    assert version.features is not None
    assert set(version.features.labels.tolist()) == {0, 2}
    assert set(version.features.hides.tolist()) == {3}


def test_features_are_what_the_classifier_sees(imported: Import) -> None:
    version, _, _ = imported(splits=BOTH, features=60)
    assert version.features is not None
    assert version.features.features.shape[1] == version.model.head.width
    assert torch.isfinite(version.features.features).all()
    assert version.features.weights.sum().item() == pytest.approx(1, abs=1e-3)


def test_a_bad_training_picture_is_named(imported: Import, tmp_path: Path) -> None:
    torn = "JPEGImages/000_0001.jpg"
    pictures = voc_zip(tmp_path / "whole.zip", ("disc", "bar"), 6, 48, splits=BOTH)
    with zipfile.ZipFile(pictures) as whole, zipfile.ZipFile(tmp_path / "torn.zip", "w") as bad:
        for name in whole.namelist():
            bad.writestr(name, b"\xff\xd8\xff" if name == torn else whole.read(name))
    with pytest.raises(DatasetError) as caught:
        imported(evaluate=tmp_path / "torn.zip")
    assert [issue.file for issue in caught.value.issues] == [torn]


def test_a_thousand_pictures_are_enough(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_features, "ENOUGH", 2)
    _, result, events = imported(splits=BOTH)
    evaluated = [e for e in events if isinstance(e, ProgressEvent) and e.phase == "evaluating"]
    assert evaluated[-1].steps == 4
    assert result.held_out_pictures == 2


def test_the_next_step_replays_them(imported: Import, tmp_path: Path) -> None:
    kept, _, _ = imported(splits=BOTH)
    dataset = voc_zip(tmp_path / "new.zip", ("cone",), pictures=6, size=48, seed=3)
    job = make_job(
        tmp_path / "step",
        dataset,
        ("cone",),
        old_version=tmp_path / "result" / "version",
        first_index=3,
        settings={"method": "frozen"},
    )
    run(job)
    after = load_version(job.result / "version").features
    assert kept.features is not None
    assert after is not None
    assert set(after.labels.tolist()) == {0, 1, 2, 3}
