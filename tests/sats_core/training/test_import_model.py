"""An import from zip to version, and a step on what was imported."""

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.inference.exported_graph import Graph
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import CoreError, DatasetError, ModelError
from sats_core.evaluation.predict import model_input, predict
from sats_core.events import DoneEvent, Event, PhaseEvent, WarningEvent
from sats_core.export import load_version
from sats_core.job import HeldOutPictures, ImportJob, ImportResult, Limits, StepJob, parse_job
from sats_core.training.import_model import run_import
from sats_core.training.loop import StoppedError
from tests.fixtures.drawings import voc_zip
from tests.fixtures.segformer import (
    AutoImageProcessor,
    logits,
    picture,
    random_segformer,
    reloaded,
)
from tests.sats_core.training.conftest import make_job, never, run

SIZE = (72, 100)  # no multiples of 32


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "acme-segformer"
    random_segformer(folder, ["background", "disc", "bar"], size=SIZE)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "labelled.zip"
    return voc_zip(path, ["bar", "disc", "cone"], pictures=5, size=48, seed=5)


def import_job(folder: Path, source: Path, **changes: Any) -> ImportJob:
    return ImportJob(
        **{
            "source": source,
            "source_name": "acme/segformer",
            "classes": ("disc", "bar"),
            "indices": (3, 7),
            "limits": Limits(),
            "threads": 1,
            "work": folder / "work",
            "result": folder / "result",
            **changes,
        }
    )


def ran(job: ImportJob) -> tuple[ImportResult, list[Event]]:
    events: list[Event] = []
    run_import(job, events.append, never)
    return ImportResult.model_validate_json((job.result / "result.json").read_bytes()), events


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, pictures: Path
) -> tuple[ImportJob, ImportResult, list[Event]]:
    """An import of a zip with labelled pictures."""
    folder = tmp_path_factory.mktemp("import")
    path = folder / "posted.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in checkpoint.iterdir():
            archive.write(file, f"segformer/{file.name}")
    job = import_job(folder, path, evaluate=pictures)
    return job, *ran(job)


def test_the_record_says_where_it_came_from(
    finished: tuple[ImportJob, ImportResult, list[Event]],
) -> None:
    job, result, events = finished
    assert result.backbone == "mit_b0"
    assert result.backbone_start == "imported: acme/segformer"
    assert result.size == 128
    assert result.origin.source == "acme/segformer"
    assert result.origin.background == "background"
    assert len(result.origin.sha256) == 64
    assert [(c["index"], c["name"]) for c in result.classes] == [
        (0, "background"),
        (3, "disc"),
        (7, "bar"),
    ]
    phases = [e.phase for e in events if isinstance(e, PhaseEvent)]
    assert phases == ["validating", "evaluating"]
    assert isinstance(events[-1], DoneEvent)
    version = load_version(job.result / "version")
    assert version.config["kind"] == "imported"
    assert version.config["origin"] == result.origin.model_dump()
    assert version.config["onnx_agreement"] >= 0.999
    card = (job.result / "version" / "README.md").read_text()
    assert f"imported from acme/segformer, weights sha256 {result.origin.sha256}" in card
    assert "stretched to 72 x 100" in card


def test_labelled_pictures_score_it_and_are_kept(
    finished: tuple[ImportJob, ImportResult, list[Event]], pictures: Path
) -> None:
    job, result, events = finished
    assert result.held_out_pictures == result.scores.pictures == 5
    assert result.scores.iou["disc"] is not None
    assert result.scores.introduced.keys() == {"disc", "bar"}
    assert result.confusion is not None
    assert (result.confusion.pictures, result.confusion.before) == (5, None)
    warnings = [e.message for e in events if isinstance(e, WarningEvent)]
    assert warnings == ["the model does not know cone: scored as background"]
    with ZipSource(job.result / "held_out.zip", Limits()) as kept:
        reader = open_reader(kept)
        assert reader.classes == ("bar", "disc")
        assert len(reader.ids) == 5


def test_the_version_is_the_source(
    finished: tuple[ImportJob, ImportResult, list[Event]], checkpoint: Path
) -> None:
    job, _, _ = finished
    version = load_version(job.result / "version")
    source, again = reloaded(checkpoint), reloaded(job.result / "version")
    pixels, _ = model_input(picture(100, 80), 96, version.model)
    expected = logits(source, pixels)
    assert torch.equal(logits(again, pixels), expected)
    torch.testing.assert_close(logits(version.model, pixels), expected, rtol=1e-5, atol=1e-5)


def test_served_masks_are_evaluated_masks_and_the_librarys(
    finished: tuple[ImportJob, ImportResult, list[Event]],
) -> None:
    directory = finished[0].result / "version"
    version = load_version(directory)
    graph = Graph(directory / "config.json", directory / "model.onnx")
    assert graph.catalogue == version.catalogue
    indices = np.array([c.index for c in version.catalogue.classes], dtype=np.uint8)
    channels = {c.name: channel for channel, c in enumerate(version.catalogue.classes)}
    from transformers import pipeline  # seconds, which the other tests need not wait for

    segment = pipeline("image-segmentation", str(directory))
    for height, width in (SIZE, (200, 50), (33, 47)):
        seen = picture(height, width, seed=height)
        served = graph.segmented(graph.run([graph.view(seen)])[0], height, width).mask
        evaluated = predict(version.model, seen, 96)
        np.testing.assert_array_equal(served, indices[evaluated])
        theirs = np.zeros((height, width), np.uint8)
        for found in segment(Image.fromarray(seen)):
            theirs[np.asarray(found["mask"]) > 0] = channels[found["label"]]
        assert (theirs == evaluated).mean() >= (1 if (height, width) == SIZE else 0.93)


def test_a_step_learns_on_it_and_goes_back_to_the_library(
    finished: tuple[ImportJob, ImportResult, list[Event]], tmp_path: Path
) -> None:
    job, imported, _ = finished
    dataset = voc_zip(tmp_path / "new.zip", ["cone"], pictures=6, size=48, seed=6)
    step = make_job(
        tmp_path,
        dataset,
        ("cone",),
        first_index=9,
        old_version=job.result / "version",
        earlier=(HeldOutPictures(path=job.result / "held_out.zip", classes=("bar", "disc")),),
        settings={"method": "sats_plus", "epochs": 1},
    )
    result, _ = run(step)
    assert result.settings["backbone"] == "mit_b0"
    assert result.settings["size"] == 128
    assert result.backbone_start == imported.backbone_start
    assert result.scores.introduced["disc"] == imported.scores.iou["disc"]
    directory = step.result / "version"
    version = load_version(directory)
    assert version.model.view == load_version(job.result / "version").model.view
    assert "kind" not in version.config
    theirs = reloaded(directory)
    assert theirs.config.id2label == {0: "background", 1: "disc", 2: "bar", 3: "cone"}
    show = AutoImageProcessor.from_pretrained(directory)
    seen = picture(*SIZE, seed=3)
    inputs = show(Image.fromarray(seen), return_tensors="pt")
    with torch.no_grad():
        output = theirs(**inputs)
    torch.testing.assert_close(
        logits(version.model, inputs["pixel_values"]), output.logits, rtol=1e-4, atol=1e-4
    )
    masks = show.post_process_semantic_segmentation(output, [SIZE])
    np.testing.assert_array_equal(masks[0].numpy(), predict(version.model, seen, 96))


def test_a_background_that_is_made_up_changes_no_mask(tmp_path: Path) -> None:
    source = random_segformer(tmp_path / "in", ["wall", "sky", "tree"], size=SIZE)
    job = import_job(tmp_path, tmp_path / "in", classes=("wall", "sky", "tree"), indices=(1, 2, 3))
    result, _ = ran(job)
    assert result.origin.background is None
    assert set(result.scores.iou.values()) == {None}
    assert result.held_out_pictures == 0
    assert not (job.result / "held_out.zip").exists()
    version = load_version(job.result / "version")
    pixels, _ = model_input(picture(90, 90), 96, version.model)
    ours = logits(version.model, pixels)
    torch.testing.assert_close(ours[:, 1:], logits(source, pixels), rtol=1e-5, atol=1e-5)
    assert (ours.argmax(dim=1) > 0).all()


class TestRefuses:
    def test_other_classes_than_asked_for(self, tmp_path: Path, checkpoint: Path) -> None:
        with pytest.raises(ModelError, match="not those that the import was asked for"):
            ran(import_job(tmp_path, checkpoint, classes=("bar", "disc")))

    def test_pictures_of_strange_classes(self, tmp_path: Path, checkpoint: Path) -> None:
        strange = voc_zip(tmp_path / "s.zip", ["cone", "cube"], pictures=2, size=32)
        with pytest.raises(DatasetError, match="no class that the model knows: cone, cube"):
            ran(import_job(tmp_path, checkpoint, evaluate=strange))

    def test_pictures_that_cannot_be_read(
        self, tmp_path: Path, checkpoint: Path, pictures: Path
    ) -> None:
        broken = tmp_path / "broken.zip"
        with zipfile.ZipFile(pictures) as source, zipfile.ZipFile(broken, "w") as target:
            for entry in source.namelist():
                data = source.read(entry)
                target.writestr(entry, data[:100] if entry.endswith(".jpg") else data)
        with pytest.raises(DatasetError, match="5 files of the data set cannot be used"):
            ran(import_job(tmp_path, checkpoint, evaluate=broken))

    def test_an_encoder(self, tmp_path: Path, checkpoint: Path) -> None:
        folder = tmp_path / "encoder"
        shutil.copytree(checkpoint, folder)
        said = json.loads((folder / "config.json").read_text())
        said["architectures"] = ["SegformerModel"]
        (folder / "config.json").write_text(json.dumps(said))
        with pytest.raises(ModelError, match="name it as the step's backbone"):
            ran(import_job(tmp_path, folder))

    def test_when_asked_to_stop(self, tmp_path: Path, checkpoint: Path, pictures: Path) -> None:
        job = import_job(tmp_path, checkpoint, evaluate=pictures)
        with pytest.raises(StoppedError):
            run_import(job, lambda _: None, lambda: True)
        assert not (job.result / "result.json").exists()

    @pytest.mark.parametrize("files", [{}, {"config.json": b"{}"}])
    def test_what_is_no_checkpoint(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        path = tmp_path / "posted.zip"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        path.write_bytes(buffer.getvalue())
        with pytest.raises(CoreError):
            ran(import_job(tmp_path, path))


def test_jobs_are_told_apart_by_kind(tmp_path: Path, base_zip: Path) -> None:
    step = make_job(tmp_path, base_zip, ("disc",))
    imported = import_job(tmp_path, tmp_path)
    assert isinstance(parse_job(step.model_dump_json()), StepJob)
    assert parse_job(imported.model_dump_json()) == imported
