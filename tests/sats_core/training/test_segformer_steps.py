"""Steps on SegFormer's own backbones: every version goes back to transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sats_core.evaluation.predict import predict
from sats_core.events import WarningEvent
from sats_core.export import load_version
from sats_core.job import HeldOutPictures, StepJob
from tests.fixtures.segformer import (
    AutoImageProcessor,
    change,
    logits,
    picture,
    random_segformer,
    reloaded,
)
from tests.sats_core.training.conftest import make_job, run


@pytest.fixture(scope="module")
def base_step(tmp_path_factory: pytest.TempPathFactory, base_zip: Path) -> StepJob:
    """A base step from an encoder that is named by its hub id."""
    folder = tmp_path_factory.mktemp("mit")
    random_segformer(folder / "backbones" / "acme" / "mit-b0", ["a", "b"])
    change(folder / "backbones/acme/mit-b0/config.json", architectures=["SegformerModel"])
    job = make_job(
        folder,
        base_zip,
        ("disc", "bar"),
        backbone_dir=folder / "backbones",
        settings={"backbone": "acme/mit-b0", "pretrained": True, "size": 64},
    )
    result, events = run(job)
    assert result.backbone_start == "directory acme/mit-b0"
    warnings = [event.message for event in events if isinstance(event, WarningEvent)]
    assert not [said for said in warnings if "backbone" in said]
    return job


def test_a_version_has_the_files_of_both(base_step: StepJob) -> None:
    version = base_step.result / "version"
    assert {file.name for file in version.iterdir()} == {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "features.safetensors",
        "model.onnx",
        "scores.json",
        "held_out_scores.json",
        "README.md",
    }
    said = json.loads((version / "config.json").read_text())
    assert said["id2label"] == {"0": "background", "1": "disc", "2": "bar"}
    assert said["sats"]["backbone"] == "mit_b0"
    assert "from_pretrained" in (version / "README.md").read_text()


def assert_same_in_the_library(directory: Path) -> None:
    version, theirs = load_version(directory), reloaded(directory)
    pixels = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        logits(version.model, pixels), logits(theirs, pixels), rtol=1e-4, atol=1e-4
    )
    show = AutoImageProcessor.from_pretrained(directory)
    for height, width in ((64, 45), (33, 64), (64, 64)):
        seen = picture(height, width)
        inputs = show(Image.fromarray(seen), return_tensors="pt")
        assert inputs["pixel_values"].shape == (1, 3, height, width)
        with torch.no_grad():
            output = theirs(**inputs)
        masks = show.post_process_semantic_segmentation(output, [(height, width)])
        np.testing.assert_array_equal(masks[0].numpy(), predict(version.model, seen, 64))


def test_a_base_version_is_the_same_in_the_library(base_step: StepJob) -> None:
    assert_same_in_the_library(base_step.result / "version")


@pytest.mark.parametrize("method", ["sats", "finetune"])
def test_so_is_the_version_after_it(
    base_step: StepJob, step_zip: Path, tmp_path: Path, method: str
) -> None:
    job = make_job(
        tmp_path,
        step_zip,
        ("ring",),
        first_index=3,
        old_version=base_step.result / "version",
        earlier=(HeldOutPictures(path=base_step.result / "held_out.zip", classes=("disc", "bar")),),
        settings={"method": method, "epochs": 1, "fusion": True},
    )
    run(job)
    directory = job.result / "version"
    assert reloaded(directory).config.id2label[3] == "ring"
    assert_same_in_the_library(directory)
    sizes = [step.out_channels for step in load_version(directory).model.classifier.convolutions()]
    assert sizes == [3, 1]
