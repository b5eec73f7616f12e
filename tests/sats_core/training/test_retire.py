"""Taking classes from a version, from the job to what is learned on top of it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from app.inference.exported_graph import Graph
from sats_core.data.readers import open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import ClassError, DatasetError
from sats_core.evaluation.predict import predict
from sats_core.events import DoneEvent, PhaseEvent, ProgressEvent, WarningEvent
from sats_core.export import load_version
from sats_core.job import (
    Depth,
    HeldOutPictures,
    Limits,
    RetireJob,
    RetireResult,
    StepJob,
    parse_job,
    parse_result,
)
from sats_core.settings import DESCENT, StepSettings
from sats_core.training.loop import StoppedError
from sats_core.training.retire import run_retire
from sats_core.training.unlearning import HEAD_STAYS
from tests.fixtures.backbones import TINY
from tests.fixtures.drawings import voc_zip
from tests.sats_core.training.conftest import Events, make_job, never, run

Ran = tuple[RetireJob, RetireResult, Events]


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory, base_zip: Path, step_zip: Path) -> StepJob:
    """A version of three classes in two steps (disc, bar; ring), with a memory."""
    folder = tmp_path_factory.mktemp("learned")
    keeps = {"memory": 8, "features": 300}
    first = make_job(folder / "base", base_zip, ("disc", "bar"), settings=keeps)
    run(first)
    second = make_job(
        folder / "step",
        step_zip,
        ("ring",),
        first_index=3,
        old_version=first.result / "version",
        memory=first.result / "memory.zip",
        earlier=(HeldOutPictures(path=first.result / "held_out.zip", classes=("disc", "bar")),),
        settings={**keeps, "method": "frozen"},
    )
    run(second)
    return second


def held_out(learned: StepJob) -> tuple[HeldOutPictures, ...]:
    own = HeldOutPictures(path=learned.result / "held_out.zip", classes=("ring",))
    return (*learned.earlier, own)


def retire_job(
    folder: Path, learned: StepJob, classes: tuple[str, ...], depth: Depth, **changes: Any
) -> RetireJob:
    settings = {"epochs": 2, "batch_size": 4, "seed": 0, **changes.pop("settings", {})}
    return RetireJob(
        **{
            "old_version": learned.result / "version",
            "classes": classes,
            "depth": depth,
            "settings": StepSettings(**settings),
            "earlier": held_out(learned),
            "memory": learned.result / "memory.zip",
            "limits": Limits(),
            "threads": 1,
            "work": folder / "work",
            "result": folder / "result",
            **changes,
        }
    )


def retired(job: RetireJob, should_stop: Callable[[], bool] = never) -> tuple[RetireResult, Events]:
    events: Events = []
    run_retire(job, events.append, should_stop)
    found = parse_result((job.result / "result.json").read_bytes())
    assert isinstance(found, RetireResult)
    return found, events


@pytest.fixture(scope="session")
def without_bar(tmp_path_factory: pytest.TempPathFactory, learned: StepJob) -> Ran:
    """`bar` hidden: a row in the middle of the base step's."""
    job = retire_job(tmp_path_factory.mktemp("hidden"), learned, ("bar",), Depth.HIDE)
    return job, *retired(job)


@pytest.fixture(scope="session")
def unlearned(tmp_path_factory: pytest.TempPathFactory, learned: StepJob) -> Ran:
    """`bar` unlearned, against the base of which somebody took nothing."""
    job = retire_job(tmp_path_factory.mktemp("unlearned"), learned, ("bar",), Depth.UNLEARN)
    return job, *retired(job)


def weights(version: Path) -> dict[str, torch.Tensor]:
    return load_file(version / "model.safetensors")


def warned(events: Events) -> list[str]:
    return [event.message for event in events if isinstance(event, WarningEvent)]


class TestHide:
    def test_only_the_backgrounds_row_is_another(self, learned: StepJob, without_bar: Ran) -> None:
        old, new = (weights(job.result / "version") for job in (learned, without_bar[0]))
        steps = "classifier.steps."
        for name in old:
            if not name.startswith(steps):
                assert torch.equal(old[name], new[name]), name
        for kind in ("weight", "bias"):
            first, second = (old[f"{steps}{number}.{kind}"] for number in (0, 1))
            assert torch.equal(new[f"{steps}0.{kind}"][1], first[1])
            assert not torch.equal(new[f"{steps}0.{kind}"][0], first[0])
            assert torch.equal(new[f"{steps}1.{kind}"], second)
            assert len(new[f"{steps}0.{kind}"]) == 2

    def test_indices_and_colours_of_what_stays(self, learned: StepJob, without_bar: Ran) -> None:
        old = load_version(learned.result / "version").catalogue
        new = load_version(without_bar[0].result / "version").catalogue
        assert [(c.index, c.name, c.step) for c in new.classes] == [
            (0, "background", 0),
            (1, "disc", 0),
            (3, "ring", 1),
        ]
        assert new.classes == tuple(c for c in old.classes if c.name != "bar")
        config = json.loads((without_bar[0].result / "version" / "config.json").read_text())
        assert config["retired"] == ["bar"]
        assert config["id2label"] == {"0": "background", "1": "disc", "2": "ring"}
        card = (without_bar[0].result / "version" / "README.md").read_text()
        assert "- without bar, taken away (hide)" in card

    def test_the_served_mask_has_the_index_that_stays(self, without_bar: Ran) -> None:
        version = without_bar[0].result / "version"
        graph, loaded = (
            Graph(version / "config.json", version / "model.onnx"),
            load_version(version),
        )
        picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        served = graph.segmented(graph.run([graph.view(picture)])[0], 48, 48).mask
        indices = np.array([c.index for c in loaded.catalogue.classes], np.uint8)
        np.testing.assert_array_equal(served, indices[predict(loaded.model, picture, 32)])
        assert set(np.unique(served)) <= {0, 1, 3}

    def test_what_was_the_class_is_background(self, without_bar: Ran) -> None:
        proof = without_bar[1].proof
        assert proof.pictures == "none"
        assert proof.to_background is not None
        assert proof.to_background > 0.9

    def test_features_of_the_class_are_gone_and_others_as_they_were(
        self, learned: StepJob, without_bar: Ran
    ) -> None:
        old = load_version(learned.result / "version").features
        new = load_version(without_bar[0].result / "version").features
        assert old is not None
        assert new is not None
        assert new.labels.unique().tolist() == [0, 1, 2]
        rings = [memory.features[memory.labels == label] for memory, label in ((old, 3), (new, 2))]
        assert torch.equal(*rings)
        assert set(new.hides[new.labels == 2].tolist()) == {2}
        assert new.weights.sum().item() == pytest.approx(1, abs=1e-3)

    def test_the_memory_shows_it_no_more(self, learned: StepJob, without_bar: Ran) -> None:
        job, result, _ = without_bar
        with ZipSource(job.result / "memory.zip", Limits()) as source:
            left = open_reader(source)
            assert left.classes == ("disc", "ring")
            shown = [frozenset(left.shown(left.label(one))) for one in left.ids]
            kept = {source.read(left.picture_file(one)) for one in left.ids}
        with ZipSource(learned.result / "memory.zip", Limits()) as source:
            before = open_reader(source)
            showing = [one for one in before.ids if "bar" in before.shown(before.label(one))]
            assert showing
            assert not kept & {source.read(before.picture_file(one)) for one in showing}
            assert len(left.ids) == len(before.ids) - len(showing)
        assert result.memory is not None
        assert result.memory.pictures == len(shown)
        assert result.memory.classes == {n: sum(n in s for s in shown) for n in ("disc", "ring")}

    def test_the_record(self, learned: StepJob, without_bar: Ran) -> None:
        job, result, events = without_bar
        assert result.retired == ("bar",)
        assert set(result.scores.iou) == {"background", "disc", "ring"}
        assert result.scores.miou_new is None
        old = load_version(learned.result / "version").scores
        assert result.scores.introduced == {name: old.introduced[name] for name in ("disc", "ring")}
        assert result.settings["seed"] == 0
        assert all(result.settings[name] is None for name in DESCENT)
        assert [e.phase for e in events if isinstance(e, PhaseEvent)] == [
            *("validating", "training", "evaluating")
        ]
        assert isinstance(events[-1], DoneEvent)
        assert result.proof.miou_before is not None
        assert result.proof.miou_after is not None
        assert parse_job(job.model_dump_json()) == job

    def test_progress_ends_where_it_said_it_would(self, without_bar: Ran) -> None:
        told = [e for e in without_bar[2] if isinstance(e, ProgressEvent)]
        for phase in ("validating", "evaluating"):
            last = [e for e in told if e.phase == phase][-1]
            assert last.step == last.steps > 0

    def test_a_whole_step_goes_and_a_new_one_comes(
        self, learned: StepJob, step_zip: Path, tmp_path: Path
    ) -> None:
        job = retire_job(tmp_path, learned, ("ring",), Depth.HIDE)
        retired(job)
        version = load_version(job.result / "version")
        assert version.catalogue.sizes() == (3,)
        again = make_job(
            tmp_path / "again",
            step_zip,
            ("ring",),
            first_index=4,
            old_version=job.result / "version",
            memory=job.result / "memory.zip",
            earlier=learned.earlier,
            settings={"method": "frozen", "memory": 8},
        )
        result, _ = run(again)
        assert [(c["index"], c["name"]) for c in result.classes][-1] == (4, "ring")

    def test_with_nothing_at_hand_it_warns(self, learned: StepJob, tmp_path: Path) -> None:
        bare = tmp_path / "version"
        bare.mkdir()
        for file in (learned.result / "version").iterdir():
            if file.name != "features.safetensors":
                (bare / file.name).write_bytes(file.read_bytes())
        changes = {"old_version": bare, "earlier": (), "memory": None}
        job = retire_job(tmp_path, learned, ("bar",), Depth.HIDE, **changes)
        result, events = retired(job)
        assert any("falls to whatever comes second" in message for message in warned(events))
        assert result.proof.miou_before is None
        assert result.proof.to_background is None
        assert result.proof.piggyback is None
        assert result.proof.membership is None
        assert result.memory is None
        assert not (job.result / "memory.zip").exists()
        assert load_version(job.result / "version").features is None


class TestUnlearn:
    def test_the_features_are_others(self, without_bar: Ran, unlearned: Ran) -> None:
        hidden, new = (weights(job.result / "version") for job in (without_bar[0], unlearned[0]))
        assert {n: t.shape for n, t in hidden.items()} == {n: t.shape for n, t in new.items()}
        moved = [
            n for n in hidden if n.startswith("backbone") and not torch.equal(hidden[n], new[n])
        ]
        assert moved

    def test_kept_features_move_along(self, without_bar: Ran, unlearned: Ran) -> None:
        hidden, new = (
            load_version(job.result / "version").features for job in (without_bar[0], unlearned[0])
        )
        assert hidden is not None
        assert new is not None
        assert torch.equal(hidden.labels, new.labels)
        assert not torch.equal(hidden.features, new.features)

    def test_the_record(self, unlearned: Ran) -> None:
        _, result, events = unlearned
        assert result.depth is Depth.UNLEARN
        assert result.proof.pictures == "kept"
        assert result.settings["epochs"] == 2
        assert result.settings["learning_rate"] == 6e-4
        losses = [e.losses for e in events if isinstance(e, ProgressEvent) and e.epoch_end][-1]
        assert set(losses) == {
            *("erasure", "separation", "collision"),
            *("features", "distillation", "attention_transfer", "cross_entropy"),
        }
        assert HEAD_STAYS in warned(events)

    def test_interrupted_and_resumed_is_uninterrupted(
        self, learned: StepJob, unlearned: Ran, tmp_path: Path
    ) -> None:
        job = retire_job(tmp_path, learned, ("bar",), Depth.UNLEARN)
        calls = 0

        def once_an_epoch_is_over() -> bool:
            nonlocal calls
            calls += (job.work / "checkpoint.safetensors").exists()
            return calls > 3

        with pytest.raises(StoppedError):
            retired(job, once_an_epoch_is_over)
        assert not (job.result / "result.json").exists()
        _, events = retired(job)
        first = next(e for e in events if isinstance(e, ProgressEvent) and e.phase == "training")
        assert first.epoch == 1
        whole, resumed = (weights(each.result / "version") for each in (unlearned[0], job))
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    def test_a_checkpoint_of_another_retirement_is_not_taken_up(
        self, learned: StepJob, unlearned: Ran, tmp_path: Path
    ) -> None:
        job = retire_job(tmp_path, learned, ("disc",), Depth.UNLEARN, settings={"epochs": 1})
        job.work.mkdir(parents=True)
        left = (unlearned[0].work / "checkpoint.safetensors").read_bytes()
        (job.work / "checkpoint.safetensors").write_bytes(left)
        _, events = retired(job)
        first = next(e for e in events if isinstance(e, ProgressEvent) and e.phase == "training")
        assert first.epoch == 0

    @pytest.mark.parametrize("method", ["frozen", "sats_plus"])
    def test_a_step_learns_on_top(self, unlearned: Ran, tmp_path: Path, method: str) -> None:
        job, _, _ = unlearned
        dataset = voc_zip(tmp_path / "new.zip", ["cone", "bar"], pictures=8, size=48, seed=9)
        step = make_job(
            tmp_path,
            dataset,
            ("cone", "bar"),
            first_index=4,
            old_version=job.result / "version",
            memory=job.result / "memory.zip",
            settings={"method": method, "memory": 8, "epochs": 1},
        )
        result, _ = run(step)
        assert [(c["index"], c["name"], c["step"]) for c in result.classes] == [
            *((0, "background", 0), (1, "disc", 0), (3, "ring", 1)),
            *((4, "cone", 2), (5, "bar", 2)),
        ]
        version = load_version(step.result / "version")
        assert [row.out_channels for row in version.model.classifier.convolutions()] == [2, 1, 2]

    def test_without_a_picture_of_it_it_makes_some_up(
        self, learned: StepJob, tmp_path: Path
    ) -> None:
        changes = {"earlier": (), "memory": None, "settings": {"epochs": 1}}
        job = retire_job(tmp_path, learned, ("bar",), Depth.UNLEARN, **changes)
        result, events = retired(job)
        assert result.proof.pictures == "noise"
        assert any("made-up ones" in message for message in warned(events))

    def test_posted_pictures_are_seen(self, learned: StepJob, tmp_path: Path) -> None:
        dataset = voc_zip(tmp_path / "p.zip", ["bar", "cone"], pictures=6, size=48, seed=4)
        changes = {"dataset": dataset, "earlier": (), "settings": {"epochs": 1}}
        job = retire_job(tmp_path, learned, ("bar",), Depth.UNLEARN, memory=None, **changes)
        result, events = retired(job)
        assert result.proof.pictures == "posted"
        assert "the model does not know cone: taken for background" in warned(events)
        assert result.proof.piggyback is not None
        assert result.proof.piggyback.unaware is None
        assert result.proof.piggyback.gap_closed is None
        assert result.proof.membership is None  # nobody says which of them were trained on


@pytest.fixture(scope="module")
def many(
    tmp_path_factory: pytest.TempPathFactory, learned: StepJob, base_zip: Path
) -> RetireResult:
    """Hidden with more held-out pictures, and an unaware version of another backbone."""
    folder = tmp_path_factory.mktemp("many")
    others = voc_zip(folder / "others.zip", ["ring", "cone"], pictures=8, size=48, seed=7)
    unaware = make_job(folder / "unaware", others, ("ring", "cone"), settings={"size": 64})
    run(unaware)
    more = voc_zip(folder / "more.zip", ["disc", "bar"], pictures=12, size=48, seed=8)
    earlier = (*held_out(learned), HeldOutPictures(path=more, classes=("disc", "bar")))
    changes = {"earlier": earlier, "unaware": unaware.result / "version"}
    return retired(retire_job(folder, learned, ("bar",), Depth.HIDE, **changes))[0]


class TestProof:
    def test_hiding_closes_nothing(self, many: RetireResult) -> None:
        found = many.proof.piggyback
        assert found is not None
        assert found.before == found.after  # the features are the same
        assert found.unaware is not None
        if found.before > found.unaware:
            assert found.gap_closed == 0
        assert found.pictures >= 1
        assert found.scored_pictures >= 1

    def test_members_are_those_of_the_memory(self, learned: StepJob, many: RetireResult) -> None:
        found = many.proof.membership
        assert found is not None
        with ZipSource(learned.result / "memory.zip", Limits()) as source:
            reader = open_reader(source)
            showing = [one for one in reader.ids if "bar" in reader.shown(reader.label(one))]
        assert found.members == len(showing)
        assert found.others >= 1
        assert 0 <= found.before <= 1
        assert 0 <= found.after <= 1


class TestRefuses:
    def refused(self, folder: Path, learned: StepJob, *classes: str, **changes: Any) -> None:
        retired(retire_job(folder, learned, classes, Depth.HIDE, **changes))

    def test_classes_that_are_not_there(self, learned: StepJob, tmp_path: Path) -> None:
        with pytest.raises(ClassError, match="no class 'cone'"):
            self.refused(tmp_path, learned, "cone")

    @pytest.mark.parametrize("classes", [(), ("disc", "bar", "ring")])
    def test_none_and_all(self, learned: StepJob, tmp_path: Path, classes: tuple[str, ...]) -> None:
        with pytest.raises(ClassError, match="leaves one"):
            self.refused(tmp_path, learned, *classes)

    def test_the_background(self, learned: StepJob, tmp_path: Path) -> None:
        with pytest.raises(ClassError, match="background stays"):
            self.refused(tmp_path, learned, "background")

    def test_pictures_of_strange_classes(self, learned: StepJob, tmp_path: Path) -> None:
        strange = voc_zip(tmp_path / "s.zip", ["cone"], pictures=2, size=32)
        with pytest.raises(DatasetError, match="no class that the model knows: cone"):
            self.refused(tmp_path, learned, "bar", dataset=strange)

    def test_pictures_that_cannot_be_read(self, learned: StepJob, tmp_path: Path) -> None:
        whole = voc_zip(tmp_path / "w.zip", ["bar"], pictures=3, size=32)
        broken = tmp_path / "broken.zip"
        with zipfile.ZipFile(whole) as source, zipfile.ZipFile(broken, "w") as target:
            for entry in source.namelist():
                data = source.read(entry)
                target.writestr(entry, data[:100] if entry.endswith(".jpg") else data)
        with pytest.raises(DatasetError, match="3 files of the data set cannot be used"):
            self.refused(tmp_path, learned, "bar", dataset=broken)

    def test_when_asked_to_stop(self, learned: StepJob, tmp_path: Path) -> None:
        job = retire_job(tmp_path, learned, ("bar",), Depth.HIDE)
        with pytest.raises(StoppedError):
            retired(job, lambda: True)
        assert not (job.result / "result.json").exists()


def test_the_backbone_is_the_versions(without_bar: Ran) -> None:
    assert without_bar[1].settings["backbone"] == TINY
    assert without_bar[1].settings["size"] == 32
