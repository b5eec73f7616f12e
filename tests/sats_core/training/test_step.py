import copy
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sats_core.data.prediction import Prediction, best_channels
from sats_core.data.readers import LabelledPicture, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import ClassError, DatasetError, DivergedError, ModelError
from sats_core.evaluation.picture_scores import HELD_OUT_SCORES, PictureScores, SetScores
from sats_core.evaluation.predict import model_input, predict
from sats_core.events import DoneEvent, PhaseEvent, ProgressEvent, WarningEvent
from sats_core.export import LoadedVersion, load_version
from sats_core.job import HeldOutChoice, HeldOutPictures, Limits, StepJob
from sats_core.method_settings import FrozenSettings
from sats_core.settings import DESCENT
from sats_core.training.loop import StoppedError
from tests.fixtures.backbones import TINY
from tests.fixtures.drawings import voc_zip
from tests.sats_core.training.conftest import Ran, make_job, run


def weights(job: StepJob) -> dict[str, torch.Tensor]:
    return load_file(job.result / "version" / "model.safetensors")


def differing(a: StepJob, b: StepJob) -> list[str]:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    return [name for name, tensor in first.items() if not torch.equal(tensor, second[name])]


def second_step(
    folder: Path, base: StepJob, step_zip: Path, method: str = "sats", **changes: object
) -> StepJob:
    return make_job(
        folder,
        step_zip,
        ("ring",),
        first_index=3,
        old_version=base.result / "version",
        earlier=(held_out_of(base),),
        settings={"method": method},
        **changes,
    )


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, base: StepJob, step_zip: Path) -> Ran:
    """A finished step by `sats` on the base."""
    job = second_step(tmp_path_factory.mktemp("second"), base, step_zip)
    return Ran(job, *run(job))


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory, base: StepJob, step_zip: Path) -> Ran:
    """A finished step by `frozen` on the base."""
    job = second_step(tmp_path_factory.mktemp("solved"), base, step_zip, "frozen")
    return Ran(job, *run(job))


def held_out_of(base: StepJob) -> HeldOutPictures:
    return HeldOutPictures(path=base.result / "held_out.zip", classes=("disc", "bar"), version=1)


def stop_after(epochs: int, job: StepJob) -> Callable[[], bool]:
    """Say stop once the checkpoint of `epochs` epochs is written and the next epoch runs."""
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        path = job.work / "checkpoint.safetensors"
        if path.exists():
            header = path.read_bytes()[8:4096]
            if f'"epochs":"{epochs}"'.encode() in header:
                calls += 1
        return calls > 1

    return should_stop


def test_a_base_step_writes_a_whole_version(base: StepJob) -> None:
    version = base.result / "version"
    assert {file.name for file in version.iterdir()} == {
        "model.safetensors",
        "config.json",
        "features.safetensors",
        "model.onnx",
        "scores.json",
        "held_out_scores.json",
        "README.md",
    }
    config = json.loads((version / "config.json").read_text())
    assert config["id2label"] == {"0": "background", "1": "disc", "2": "bar"}
    assert config["backbone_start"] == "scratch"
    assert config["onnx_agreement"] >= 0.999
    assert not list(base.result.glob("*.partial"))
    card = (version / "README.md").read_text()
    assert "| 1 | 1 | disc |" in card
    assert "scratch" in card


def test_every_held_out_picture_is_scored_by_itself(
    base: StepJob, solved: Ran, step_zip: Path, tmp_path: Path
) -> None:
    job = solved.job
    found = told(job)
    told_of = [(one.version, one.classes) for one in found]
    assert told_of == [(None, ("ring",)), (1, ("disc", "bar"))]
    loaded = load_version(job.result / "version")
    kept = (job.result / "held_out.zip", base.result / "held_out.zip")
    for one, path in zip(found, kept, strict=True):
        channels = [loaded.catalogue.channel(name) for name in one.classes]
        with ZipSource(path, Limits()) as source:
            reader = open_reader(source)
            expected = [overlaps(loaded, reader.read(each), channels) for each in reader.ids]
        assert list(one.iou) == expected
        assert any(share is not None for row in expected for share in row)
    keeps_none = HeldOutChoice(keep=False)
    forgetful = second_step(tmp_path, base, step_zip, "frozen", held_out=keeps_none)
    run(forgetful)
    assert told(forgetful) == found[1:]


def told(job: StepJob) -> tuple[SetScores, ...]:
    stored = (job.result / "version" / HELD_OUT_SCORES).read_text()
    return PictureScores.model_validate_json(stored).sets


def overlaps(
    version: LoadedVersion, read: LabelledPicture, channels: list[int]
) -> tuple[float | None, ...]:
    """Count by hand; a label's values 1, 2, ... are the channels' classes."""
    seen = predict(version.model, read.picture, int(version.config["size"]))
    counted = read.label != 255
    shares: list[float | None] = []
    for value, channel in enumerate(channels, 1):
        labelled, called = (read.label == value) & counted, (seen == channel) & counted
        either = (labelled | called).sum()
        shares.append(round(float((labelled & called).sum() / either), 4) if either else None)
    return tuple(shares)


def test_an_evaluation_tells_how_far_it_is(solved: Ran) -> None:
    told = [e for e in solved.events if isinstance(e, ProgressEvent) and e.phase == "evaluating"]
    looked_at = solved.result.scores.pictures + solved.result.trained_pictures
    assert told[-1].step == told[-1].steps == looked_at


def test_events_tell_the_story(base_run: Ran) -> None:
    events = base_run.events
    phases = [e.phase for e in events if isinstance(e, PhaseEvent)]
    assert phases == ["validating", "training", "evaluating"]
    assert isinstance(events[-1], DoneEvent)
    epochs = [e for e in events if isinstance(e, ProgressEvent) and e.epoch_end]
    assert [(e.epoch, e.epochs) for e in epochs] == [(1, 2), (2, 2)]
    assert epochs[-1].step == epochs[-1].steps
    assert epochs[-1].eta_seconds == 0
    assert set(epochs[0].losses) == {"cross_entropy"}
    warnings = [e.message for e in events if isinstance(e, WarningEvent)]
    assert any(f"{TINY} starts from scratch" in message for message in warnings)


def declared_too(path: Path, source: Path) -> Path:
    """Copy a data set of `ring` and `disc` as one with two more classes, first and last, that no
    mask holds."""
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(path, "w") as target:
        for entry in whole.namelist():
            data = whole.read(entry)
            if entry == "classes.txt":
                data = b"0 background\n9 things\n1 ring\n2 disc\n3 more\n"
            target.writestr(entry, data)
    return path


def test_a_class_that_nothing_shows_is_left_out_unless_the_task_names_it(
    base: StepJob, step_zip: Path, tmp_path: Path
) -> None:
    path = declared_too(tmp_path / "d.zip", step_zip)
    changes = {"new_classes": ("things", "ring", "more"), "indices": (3, 4, 5)}
    job = second_step(tmp_path / "a", base, path).model_copy(update=changes)
    with pytest.raises(DatasetError, match="no training picture shows things, more"):
        run(job)
    result, events = run(job.model_copy(update={"named": False}))
    assert [(c["name"], c["index"]) for c in result.classes][-1] == ("ring", 4)
    warnings = [e.message for e in events if isinstance(e, WarningEvent)]
    for name in ("things", "more"):
        assert f"no training picture shows {name!r}: it is not learned" in warnings
    # What is left is the step that never heard of the two.
    plain = second_step(tmp_path / "b", base, step_zip).model_copy(update={"indices": (4,)})
    run(plain)
    assert not differing(job, plain)
    with ZipSource(job.result / "held_out.zip", Limits()) as source:
        assert open_reader(source).classes == ("ring",)


def test_a_version_is_loaded_back_from_the_directory_alone(base: StepJob, tmp_path: Path) -> None:
    copy = tmp_path / "anywhere"
    shutil.copytree(base.result / "version", copy)
    loaded = load_version(copy)
    assert loaded.catalogue.foreground == ("disc", "bar")
    assert not loaded.model.training
    for name, tensor in weights(base).items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


def test_the_graph_answers_as_torch_at_other_sizes_and_batches(base: StepJob) -> None:
    loaded = load_version(base.result / "version")
    session = onnxruntime.InferenceSession(base.result / "version" / "model.onnx")
    make = torch.Generator().manual_seed(0)
    for shape in [(1, 3, 32, 32), (3, 3, 64, 96), (2, 3, 160, 32)]:
        pixels = torch.randn(shape, generator=make)
        logits, labels, scores = session.run(None, {"pixel_values": pixels.numpy()})
        with torch.no_grad():
            expected = loaded.model(pixels)
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
        assert labels.dtype == np.uint8
        assert labels.shape == (shape[0], *shape[2:])
        assert scores.shape == labels.shape
        assert (scores <= 1.0001).all()
        assert (scores >= 1 / 3 - 1e-4).all()


def test_scores_are_of_what_the_service_answers(base: StepJob, base_zip: Path) -> None:
    loaded = load_version(base.result / "version")
    session = onnxruntime.InferenceSession(base.result / "version" / "model.onnx")
    with ZipSource(base_zip, Limits()) as source:
        reader = open_reader(source)
        picture = reader.picture(reader.ids[0])
    pixels, (height, width) = model_input(picture, 32, loaded.model)
    (logits,) = session.run(["logits"], {"pixel_values": pixels.numpy()})
    rows, columns = (
        points * shown / whole
        for points, shown, whole in zip(
            logits.shape[-2:], (height, width), pixels.shape[-2:], strict=True
        )
    )
    served = best_channels(Prediction(logits[0], rows, columns), *picture.shape[:2])
    same = served == predict(loaded.model, picture, 32)
    assert same.mean() >= 0.999


def test_a_second_step_keeps_the_old_classes_and_their_indices(second: Ran) -> None:
    result, events = second.result, second.events
    assert [(c["index"], c["name"], c["step"]) for c in result.classes] == [
        (0, "background", 0),
        (1, "disc", 0),
        (2, "bar", 0),
        (3, "ring", 1),
    ]
    losses = [e.losses for e in events if isinstance(e, ProgressEvent) and e.epoch_end][-1]
    assert set(losses) == {"cross_entropy", "distillation", "attention_transfer"}
    scores = result.scores
    assert scores.pictures == 2 + 2
    assert scores.miou_old is not None
    assert set(scores.introduced) == {"disc", "bar", "ring"}
    assert set(scores.forgetting) <= {"disc", "bar"}
    taken = result.confusion
    assert taken is not None
    assert (taken.classes, taken.pictures) == (("background", "disc", "bar", "ring"), 4)
    assert taken.before is not None
    assert [row[3] for row in taken.before] == [0] * 4  # the version before knew no ring
    assert [sum(row) for row in taken.before] == [sum(row) for row in taken.pixels]


def test_held_out_pictures_carry_the_labels_of_the_step_alone(second: Ran, step_zip: Path) -> None:
    with ZipSource(second.job.result / "held_out.zip", Limits()) as source:
        reader = open_reader(source)
        assert reader.classes == ("ring",)
        assert len(reader.ids) == 2
        with ZipSource(step_zip, Limits()) as posted:
            original = open_reader(posted)
            for picture_id in reader.ids:
                kept, given = reader.read(picture_id), original.read(picture_id)
                assert (kept.picture == given.picture).all()
                assert ((kept.label == 1) == (given.label == 1)).all()
                assert not (kept.label == 2).any()


def test_held_out_pictures_are_not_kept_against_the_users_word(
    base_zip: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path, base_zip, ("disc",), held_out=HeldOutChoice(keep=False))
    result, _ = run(job)
    assert not (job.result / "held_out.zip").exists()
    assert result.held_out_pictures == 2


def test_a_frozen_step_is_one_pass_and_says_so(base: StepJob, solved: Ran) -> None:
    job, result, events = solved.job, solved.result, solved.events
    told = [e for e in events if isinstance(e, ProgressEvent) and e.phase == "training"]
    assert (told[-1].epoch, told[-1].epochs, told[-1].epoch_end) == (1, 1, True)
    assert told[-1].step == told[-1].steps == result.trained_pictures
    assert set(told[-1].losses) == {"cross_entropy", "distillation", "decay"}
    config = json.loads((job.result / "version" / "config.json").read_text())
    for settings in (result.settings, config["settings"]):
        assert {settings[name] for name in DESCENT} == {None}
        assert settings["seed"] == 0
        chosen = FrozenSettings.model_validate(settings["method_settings"])
        asked = FrozenSettings.model_validate(job.settings.method_settings)
        wider = result_width(job) - result_width(base)
        assert chosen == asked.model_copy(update={"units": wider})
    assert "one pass, then solved" in (job.result / "version" / "README.md").read_text()
    was, now = weights(base), weights(job)
    old, wide = (len(each["head.mix.weight"]) for each in (was, now))
    parts = (
        was.pop("head.mix.weight").split(old, dim=1),
        now["head.mix.weight"].split(wide, dim=1),
    )
    assert all(torch.equal(n[:old, :old], w) for w, n in zip(*parts, strict=True))
    for name, tensor in was.items():
        same = now[name][tuple(slice(size) for size in tensor.shape)]
        assert torch.equal(same, tensor), name
    assert not now["classifier.steps.0.weight"][:, old:].any(), "what was known minds no unit"
    assert not (job.work / "checkpoint.safetensors").exists()


def result_width(job: StepJob) -> int:
    """How wide the head is that the step left."""
    config = json.loads((job.result / "version" / "config.json").read_text())
    return int(config.get("head_width") or config["decoder_hidden_size"])


def test_a_base_step_by_frozen_is_plain_training(base_zip: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, base_zip, ("disc",), settings={"method": "frozen"})
    result, events = run(job)
    assert result.settings["epochs"] == 2
    assert [e.epoch for e in events if isinstance(e, ProgressEvent) and e.epoch_end] == [1, 2]


def test_a_frozen_step_that_was_stopped_starts_again(
    base: StepJob, solved: Ran, step_zip: Path, tmp_path: Path
) -> None:
    cut = second_step(tmp_path, base, step_zip, "frozen")
    told = 0

    def should_stop() -> bool:
        nonlocal told
        told += 1
        return told > 12  # all pictures are validated: the pass, or the fit, is under way

    with pytest.raises(StoppedError):
        run(cut, should_stop)
    assert not (cut.result / "result.json").exists()
    run(cut)
    assert differing(solved.job, cut) == []


@pytest.mark.parametrize("method", ["sats", "finetune"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_interrupted_and_resumed_is_uninterrupted(
    base: StepJob, step_zip: Path, tmp_path: Path, method: str, optimizer: str
) -> None:
    def job(name: str) -> StepJob:
        made = second_step(tmp_path / name, base, step_zip, method)
        settings = made.settings.model_copy(update={"epochs": 3, "optimizer": optimizer})
        return made.model_copy(update={"settings": settings})

    whole, cut = job("whole"), job("cut")
    run(whole)
    with pytest.raises(StoppedError):
        run(cut, stop_after(1, cut))
    assert not (cut.result / "result.json").exists()

    _, events = run(cut)

    epochs = [e.epoch for e in events if isinstance(e, ProgressEvent) and e.epoch_end]
    assert epochs == [2, 3]  # the first epoch was not run again
    assert differing(whole, cut) == []


def test_a_base_step_resumes_too(base: StepJob, base_zip: Path, tmp_path: Path) -> None:
    cut = make_job(tmp_path, base_zip, ("disc", "bar"))
    with pytest.raises(StoppedError):
        run(cut, stop_after(1, cut))
    run(cut)
    assert differing(base, cut) == []


def test_half_at_once_goes_on_from_the_same_checkpoint_and_learns_the_same(
    base: StepJob, step_zip: Path, tmp_path: Path
) -> None:
    settings = {"batch_size": 5, "optimizer": "sgd", "epochs": 3, "method": "finetune"}
    changes = {
        "first_index": 3,
        "old_version": base.result / "version",
        "settings": {**settings, "learning_rate": 0.001},
    }
    whole, cut = (
        make_job(tmp_path / name, step_zip, ("ring",), **copy.deepcopy(changes))
        for name in ("whole", "cut")
    )
    result, events = run(whole)
    assert (result.settings["accumulate"], result.settings["checkpoint_activations"]) == (1, False)
    assert result.settings["devices"] == 1
    with pytest.raises(StoppedError):
        run(cut, (cut.work / "checkpoint.safetensors").exists)
    halved = cut.model_copy(update={"halvings": 1})
    result, events = run(halved)
    assert (result.settings["batch_size"], halved.at_once) == (5, 2)
    assert (result.settings["accumulate"], result.settings["checkpoint_activations"]) == (3, True)
    assert result.settings["learning_rate"] == 0.001
    ends = [e.epoch for e in events if isinstance(e, ProgressEvent) and e.epoch_end]
    assert ends == [2, 3]
    [said] = [e.message for e in events if isinstance(e, WarningEvent) and "parts" in e.message]
    assert "a batch of 5 pictures is computed in 3 parts" in said
    learned = weights(whole)
    for name, tensor in weights(halved).items():
        torch.testing.assert_close(tensor, learned[name], rtol=0, atol=1e-5, msg=name)


def test_a_step_that_solves_runs_on_one_device_and_says_so(
    base: StepJob, step_zip: Path, tmp_path: Path
) -> None:
    job = second_step(tmp_path, base, step_zip, method="frozen", devices=2)
    result, _ = run(job)
    said = {name: result.settings[name] for name in ("device", "devices", *DESCENT)}
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert said == {"device": kind, "devices": 1, **dict.fromkeys(DESCENT)}


def test_another_seed_is_another_model(base: StepJob, base_zip: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, base_zip, ("disc", "bar"), settings={"seed": 1})
    run(job)
    assert differing(base, job)


@pytest.mark.parametrize("damage", ["truncated", "of another step"])
def test_a_checkpoint_that_cannot_be_used_is_not(
    base: StepJob, base_zip: Path, tmp_path: Path, damage: str
) -> None:
    job = make_job(tmp_path, base_zip, ("disc", "bar"))
    with pytest.raises(StoppedError):
        run(job, stop_after(1, job))
    checkpoint = job.work / "checkpoint.safetensors"
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    else:
        content = checkpoint.read_bytes()
        step = content.index(b'"step":"') + 8
        checkpoint.write_bytes(content[:step] + b"0" * 64 + content[step + 64 :])
    _, events = run(job)
    assert [e.epoch for e in events if isinstance(e, ProgressEvent) and e.epoch_end] == [1, 2]
    assert differing(base, job) == []


class TestFailsClosed:
    @pytest.mark.parametrize("file", ["model.safetensors", "config.json", "scores.json"])
    @pytest.mark.parametrize("damage", ["missing", "damaged"])
    def test_an_old_model_that_cannot_be_loaded(
        self, base: StepJob, step_zip: Path, tmp_path: Path, file: str, damage: str
    ) -> None:
        version = tmp_path / "version"
        shutil.copytree(base.result / "version", version)
        if damage == "missing":
            (version / file).unlink()
        else:
            (version / file).write_bytes((version / file).read_bytes()[:-40])
        job = second_step(tmp_path / "job", base, step_zip).model_copy(
            update={"old_version": version}
        )
        with pytest.raises(ModelError, match="cannot be loaded"):
            run(job)
        assert not (job.result / "version").exists()

    def test_a_class_known_already(self, base: StepJob, step_zip: Path, tmp_path: Path) -> None:
        job = second_step(tmp_path, base, step_zip).model_copy(update={"new_classes": ("disc",)})
        with pytest.raises(ClassError, match="'disc' is known already"):
            run(job)

    def test_every_bad_file_is_named(self, tmp_path: Path) -> None:
        path = voc_zip(tmp_path / "bad.zip", ["disc"], pictures=6, size=32, seed=3)
        wrong = tmp_path / "wrong.zip"
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(wrong, "w") as target:
            for entry in source.namelist():
                data = source.read(entry)
                if entry == "JPEGImages/003_0001.jpg":
                    data = data[:200]
                if entry == "SegmentationClass/003_0004.png":
                    mask = io.BytesIO()
                    Image.new("P", (5, 5)).save(mask, "PNG")
                    data = mask.getvalue()
                target.writestr(entry, data)
        with pytest.raises(DatasetError, match="2 files") as caught:
            run(make_job(tmp_path, wrong, ("disc",)))
        files = {issue.file for issue in caught.value.issues}
        assert files == {"JPEGImages/003_0001.jpg", "SegmentationClass/003_0004.png"}

    def test_a_class_that_no_training_picture_shows(self, tmp_path: Path, base_zip: Path) -> None:
        path = voc_zip(tmp_path / "d.zip", ["disc", "bar"], pictures=5, size=32, objects=0)
        with pytest.raises(DatasetError, match="no training picture shows disc, bar") as caught:
            run(make_job(tmp_path, path, ("disc", "bar")))
        assert [issue.class_name for issue in caught.value.issues] == ["disc", "bar"]

    def test_none_of_the_data_sets_own_classes_is_shown(self, tmp_path: Path) -> None:
        path = voc_zip(tmp_path / "d.zip", ["disc", "bar"], pictures=5, size=32, objects=0)
        with pytest.raises(DatasetError, match="no training picture shows disc, bar"):
            run(make_job(tmp_path, path, ("disc", "bar"), named=False))

    def test_an_unknown_split(self, tmp_path: Path, base_zip: Path) -> None:
        job = make_job(tmp_path, base_zip, ("disc",), held_out=HeldOutChoice(split="exam"))
        with pytest.raises(DatasetError, match="no split 'exam'"):
            run(job)

    def test_one_picture_is_too_few(self, tmp_path: Path) -> None:
        path = voc_zip(tmp_path / "one.zip", ["disc"], pictures=1, size=32)
        with pytest.raises(DatasetError, match="0 pictures to train on and 1 held out"):
            run(make_job(tmp_path, path, ("disc",)))

    def test_a_loss_that_diverges(self, base: StepJob, step_zip: Path, tmp_path: Path) -> None:
        job = second_step(tmp_path, base, step_zip)
        heavy = job.settings.model_copy(update={"method_settings": {"distillation_weight": 1e39}})
        with pytest.raises(DivergedError, match="loss term distillation is inf"):
            run(job.model_copy(update={"settings": heavy}))


def test_named_splits_are_taken(tmp_path: Path) -> None:
    path = voc_zip(
        tmp_path / "s.zip", ["disc"], pictures=9, size=32, splits={"train": 4, "val": 2, "exam": 3}
    )
    first, _ = run(make_job(tmp_path / "a", path, ("disc",)))
    assert (first.trained_pictures, first.held_out_pictures) == (4, 2)
    chosen = HeldOutChoice(split="exam")
    second, _ = run(make_job(tmp_path / "b", path, ("disc",), held_out=chosen))
    assert (second.trained_pictures, second.held_out_pictures) == (4, 3)


def test_a_test_split_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = voc_zip(
        tmp_path / "s.zip", ["disc"], pictures=8, size=32, splits={"train": 5, "test": 3}
    )
    result, events = run(make_job(tmp_path, path, ("disc",)))
    assert (result.trained_pictures, result.held_out_pictures) == (4, 1)
    assert any(
        isinstance(event, WarningEvent) and "3 pictures of the split 'test'" in event.message
        for event in events
    )


def test_torch_free_parts_load_no_torch() -> None:
    code = (
        "import sys, sats_core.job, sats_core.events, sats_core.data.readers, sats_core.settings;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_batch_norm_keeps_its_statistics_after_the_base_step(base: StepJob, second: Ran) -> None:
    before, after = weights(base), weights(second.job)
    statistics = [name for name in before if "running_" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    # The base step learned them: a new model's are 0 and 1.
    assert before["head.finish.0.running_mean"].abs().max() > 0
