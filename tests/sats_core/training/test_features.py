"""What a version keeps of its classifier's inputs, step after step."""

import shutil
from pathlib import Path

import pytest
import torch

from sats_core.errors import ModelError
from sats_core.export import export_version, load_version
from sats_core.job import StepJob
from sats_core.methods.features import FeatureMemory
from tests.sats_core.training.conftest import make_job, run


def kept(job: StepJob) -> FeatureMemory:
    features = load_version(job.result / "version").features
    assert features is not None
    return features


def step(folder: Path, base: StepJob, step_zip: Path, method: str, **settings: object) -> StepJob:
    chosen = {"method": method, "features": 300, **settings}
    version = base.result / "version"
    return make_job(
        folder, step_zip, ("ring",), first_index=3, old_version=version, settings=chosen
    )


def test_a_base_step_keeps_pixels_of_every_class(base: StepJob) -> None:
    memory = kept(base)
    assert memory.labels.unique().tolist() == [0, 1, 2]
    assert memory.hides.unique().tolist() == [1]  # all that it knows is labelled
    assert memory.weights.sum().item() == pytest.approx(1, abs=1e-3)
    assert len(memory.labels) <= base.settings.features
    loaded = load_version(base.result / "version")
    with torch.no_grad():
        found = loaded.model.classifier(memory.features[:, :, None, None])
    assert found.shape[1] == 3
    assert loaded.config["kept_features"] == len(memory.labels)


@pytest.mark.parametrize("stages", [True, False])
def test_the_card_says_what_is_kept(tmp_path: Path, base: StepJob, stages: bool) -> None:
    version = load_version(base.result / "version")
    memory = kept(base) if stages else kept(base)._replace(stages=None)
    probes = [torch.zeros(1, 3, 32, 32)]
    written = tmp_path / "version"
    described = (version.model, version.catalogue, version.scores, None, version.config, probes)
    export_version(written, *described, memory)
    assert load_version(written).config["kept_stages"] is stages
    card = (written / "README.md").read_text()
    sees = "the classifier sees and the backbone's stages give" if stages else "the classifier sees"
    assert f"- kept for later steps: what {sees} at {len(memory.labels)} pixels" in card


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory, base: StepJob, step_zip: Path) -> StepJob:
    """A finished step that leaves features as they are."""
    job = step(tmp_path_factory.mktemp("solved"), base, step_zip, "frozen")
    run(job)
    return job


def test_a_later_step_adds_its_own(solved: StepJob) -> None:
    assert_adds_its_own(kept(solved))


@pytest.mark.parametrize("method", ["sats_plus", "mib"])
def test_a_later_step_that_trains_adds_its_own(
    tmp_path: Path, base: StepJob, step_zip: Path, method: str
) -> None:
    job = step(tmp_path, base, step_zip, method)
    run(job)
    assert_adds_its_own(kept(job))


def assert_adds_its_own(memory: FeatureMemory) -> None:
    assert memory.labels.unique().tolist() == [0, 1, 2, 3]
    assert len(memory.labels) <= 300
    assert set(memory.hides[memory.labels == 3].tolist()) == {3}  # its background hides any of 3
    assert set(memory.hides[memory.labels == 1].tolist()) == {1}


def test_what_is_kept_stays_where_features_stay(base: StepJob, solved: StepJob) -> None:
    was, now = kept(base), kept(solved)
    assert now.stages is not None
    assert was.stages is not None
    assert now.features.shape[1] > was.features.shape[1], "the step's units are kept behind them"
    before = {tuple(row.tolist()) for row in torch.cat([was.features, was.stages], dim=1)}
    of_one = now.at(now.labels == 1)
    assert of_one.stages is not None
    same = torch.cat([of_one.features[:, : was.features.shape[1]], of_one.stages], dim=1)
    assert all(tuple(row.tolist()) in before for row in same)


def test_what_is_kept_moves_with_a_model_that_trains(
    tmp_path: Path, base: StepJob, step_zip: Path
) -> None:
    job = step(tmp_path, base, step_zip, "mib", learning_rate=1e-2)
    run(job)
    before = {tuple(row.tolist()) for row in kept(base).features}
    now = kept(job)
    assert not any(tuple(row.tolist()) in before for row in now.features[now.labels == 1])


def test_a_step_that_is_to_keep_none_keeps_none(
    tmp_path: Path, base: StepJob, step_zip: Path
) -> None:
    job = step(tmp_path, base, step_zip, "frozen", features=0)
    run(job)
    loaded = load_version(job.result / "version")
    assert loaded.features is None
    assert loaded.config["kept_features"] == 0


def test_a_damaged_file_is_said(base: StepJob, tmp_path: Path, step_zip: Path) -> None:
    version = tmp_path / "version"
    shutil.copytree(base.result / "version", version)
    (version / "features.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_version(version)
