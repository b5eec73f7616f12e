import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from sats_core.classes import Catalogue
from sats_core.data.cache import PictureCache
from sats_core.data.readers import EncodedPicture, Reader, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.job import HeldOutPictures, Limits, StepJob
from sats_core.training.loop import StoppedError
from sats_core.training.memory import Keepable, balanced, keep, recall
from tests.sats_core.training.conftest import Ran, make_job, never, run
from tests.sats_core.training.test_step import differing, stop_after

NAMES = ["a", "b", "c"]


@given(
    shown=st.lists(st.frozensets(st.sampled_from(NAMES), min_size=1), max_size=40),
    most=st.integers(0, 50),
    seed=st.integers(0, 5),
)
def test_a_choice_is_as_large_as_it_can_be_and_has_nothing_twice(
    shown: list[frozenset[str]], most: int, seed: int
) -> None:
    chosen = balanced(shown, NAMES, most, seed)
    assert len(chosen) == len(set(chosen)) == min(most, len(shown))
    assert all(0 <= index < len(shown) for index in chosen)


def test_rare_classes_get_as_many_pictures_as_common_ones() -> None:
    shown = [{"a"}] * 100 + [{"b"}] * 20 + [{"c"}] * 4
    chosen = balanced(shown, NAMES, 24, seed=0)
    counts = [sum(name in shown[i] for i in chosen) for name in NAMES]
    assert counts == [10, 10, 4]


def test_the_choice_depends_on_the_seed_alone() -> None:
    shown = [{"a"}] * 30
    assert balanced(shown, NAMES, 5, 1) == balanced(shown, NAMES, 5, 1)
    assert balanced(shown, NAMES, 5, 1) != balanced(shown, NAMES, 5, 2)


@pytest.fixture
def reader(base_zip: Path) -> Iterator[Reader]:
    with ZipSource(base_zip, Limits()) as source:
        yield open_reader(source)


def webp_zip(path: Path, side: int, classes: tuple[str, ...]) -> Path:
    """Write a picture as it is kept: its upper half is the first class, the lower the second."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "WEBP")
    label = np.ones((side, side), dtype=np.uint8)
    label[side // 2 :] = 2
    write_voc_zip(path, [EncodedPicture("kept", ".webp", buffer.getvalue(), label)], classes)
    return path


def keepable(reader: Reader, classes: tuple[str, ...]) -> Keepable:
    shown = [set(classes) & set(reader.shown(reader.label(i))) for i in reader.ids]
    return Keepable(reader, reader.ids, shown, classes)


def test_what_is_kept_comes_back_as_it_was_labelled(tmp_path: Path, reader: Reader) -> None:
    record = keep(tmp_path / "m.zip", [keepable(reader, ("bar",))], ("disc", "bar"), 4, 0)
    assert record.pictures == 4
    assert record.classes["disc"] == 0
    assert record.classes["bar"] > 0
    catalogue = Catalogue.empty().grow(["disc", "bar"])
    with (
        PictureCache(tmp_path / "raw", 32) as cache,
        ZipSource(tmp_path / "m.zip", Limits()) as source,
    ):
        back = recall(open_reader(source), catalogue, cache, never)
        assert len(cache) == len(back.ids) == 4
        values = {int(v) for i in range(4) for v in set(cache[i][1].ravel().tolist())}
    # Channel 2 is bar; what the task did not label may be a class that the model learns now.
    assert values == {255, 2}
    assert all(shows <= {"bar"} for shows in back.shown)


def test_pictures_of_two_tasks_may_have_the_same_name(tmp_path: Path, reader: Reader) -> None:
    sources = [keepable(reader, ("bar",)), keepable(reader, ("disc",))]
    record = keep(tmp_path / "m.zip", sources, ("disc", "bar"), 100, 0)
    # A picture that shows none of its task's classes has nothing to remember.
    assert record.pictures == sum(bool(shows) for source in sources for shows in source.shown)
    assert record.pictures > len(reader.ids)


def test_a_memory_of_strange_classes_is_refused(tmp_path: Path, reader: Reader) -> None:
    with (
        PictureCache(tmp_path / "raw", 32) as cache,
        pytest.raises(DatasetError, match="disc, bar"),
    ):
        recall(reader, Catalogue.empty().grow(["cat"]), cache, never)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, base_zip: Path) -> StepJob:
    """A base step that keeps pictures."""
    folder = tmp_path_factory.mktemp("first")
    job = make_job(folder, base_zip, ("disc", "bar"), settings={"memory": 5})
    run(job)
    return job


def second(folder: Path, first: StepJob, step_zip: Path, memory: int) -> StepJob:
    return make_job(
        folder,
        step_zip,
        ("ring",),
        first_index=3,
        old_version=first.result / "version",
        memory=first.result / "memory.zip",
        settings={"method": "sats", "memory": memory},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, first: StepJob, step_zip: Path) -> Ran:
    """A step that replays what the first one kept, to its end."""
    job = second(tmp_path_factory.mktemp("whole"), first, step_zip, 8)
    return Ran(job, *run(job))


class TestSteps:
    def test_a_later_step_replays_and_keeps(self, whole: Ran) -> None:
        job, result = whole.job, whole.result
        assert result.replayed_pictures == 5
        assert result.memory is not None
        assert result.memory.pictures == 8
        assert result.memory.classes["ring"] > 0
        assert result.memory.classes["bar"] > 0
        config = json.loads((job.result / "version" / "config.json").read_text())
        assert config["memory"] == result.memory.model_dump()
        assert config["replayed_pictures"] == 5

    def test_pictures_that_an_older_version_took_in_are_learned_with_and_scored(
        self, tmp_path: Path, first: StepJob, step_zip: Path
    ) -> None:
        """A WebP of as many pixels as may be: today its decoder would take too much memory."""
        limits = Limits(max_pixels=48 * 48)
        kept = webp_zip(tmp_path / "kept.zip", 48, ("disc", "bar"))
        with ZipSource(kept, limits) as source, pytest.raises(DatasetError, match="a WebP"):
            open_reader(source).read("kept")
        job = make_job(
            tmp_path,
            step_zip,
            ("ring",),
            first_index=3,
            old_version=first.result / "version",
            memory=kept,
            earlier=(HeldOutPictures(path=kept, classes=("disc", "bar")),),
            settings={"method": "sats", "memory": 4},
            limits=limits,
        )
        result, _ = run(job)
        assert result.replayed_pictures == 1
        assert "bar" in result.scores.iou

    def test_memory_0_neither_replays_nor_keeps(
        self, tmp_path: Path, first: StepJob, step_zip: Path
    ) -> None:
        job = second(tmp_path, first, step_zip, 0)
        result, _ = run(job)
        assert result.memory is None
        assert result.replayed_pictures == 0
        assert not (job.result / "memory.zip").exists()

    def test_an_interrupted_step_with_memory_ends_the_same(
        self, tmp_path: Path, first: StepJob, whole: Ran, step_zip: Path
    ) -> None:
        parted = second(tmp_path, first, step_zip, 8)
        with pytest.raises(StoppedError):
            run(parted, stop_after(1, parted))
        run(parted)
        assert differing(whole.job, parted) == []


def test_fusion_changes_the_step(tmp_path: Path, base: StepJob, step_zip: Path) -> None:
    weights = []
    for fusion in (False, True):
        job = make_job(
            tmp_path / str(fusion),
            step_zip,
            ("ring",),
            first_index=3,
            old_version=base.result / "version",
            settings={"method": "finetune", "fusion": fusion},
        )
        result, _ = run(job)
        assert result.settings["fusion"] is fusion
        weights.append(load_file(job.result / "version" / "model.safetensors"))
    plain, fused = weights
    before = load_file(base.result / "version" / "model.safetensors")
    name = "backbone.net.patch_embed.proj.weight"
    share = (1 / 4) ** 0.5
    expected = (1 - share) * before[name] + share * plain[name]
    assert torch.allclose(fused[name], expected, atol=1e-6)
