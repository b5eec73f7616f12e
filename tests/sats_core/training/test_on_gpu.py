"""A step on a CUDA device: cut off it learns the same, and what it learned is served the same.

Some of CUDA's kernels add in any order, so that two runs of the same step end a little apart: what
was interrupted may be as far from what was not, and no further.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from sats_core.events import ProgressEvent
from sats_core.export import load_version
from sats_core.job import HeldOutPictures, StepJob
from sats_core.training.loop import StoppedError
from sats_core.training.start import begin
from tests.fixtures.gpu import on_gpu
from tests.sats_core.training.conftest import make_job, run
from tests.sats_core.training.test_step import stop_after

EPOCHS = 4
MARGIN = 1e-3
"""Between the best two logits of a pixel that two computations may label differently."""


def made(folder: Path, base: StepJob, step_zip: Path, epochs: int = EPOCHS) -> StepJob:
    return make_job(
        folder,
        step_zip,
        ("ring",),
        first_index=3,
        old_version=base.result / "version",
        earlier=(HeldOutPictures(path=base.result / "held_out.zip", classes=("disc", "bar")),),
        settings={"method": "sats", "epochs": epochs, "learning_rate": 1e-3},
    )


def learned(job: StepJob) -> torch.Tensor:
    """Return all weights of a finished step, one after another."""
    found = load_file(job.result / "version" / "model.safetensors")
    return torch.cat([found[name].float().flatten() for name in sorted(found)])


@pytest.fixture
def trained(base: StepJob, step_zip: Path, tmp_path: Path) -> StepJob:
    """A step that nothing interrupted."""
    job = made(tmp_path / "whole", base, step_zip)
    run(job)
    return job


@on_gpu
def test_it_is_computed_there(base: StepJob) -> None:
    assert next(begin(base).model.parameters()).device.type == "cuda"


@on_gpu
def test_interrupted_and_resumed_is_as_close_as_run_twice(
    base: StepJob, step_zip: Path, tmp_path: Path, trained: StepJob
) -> None:
    again, cut = (made(tmp_path / name, base, step_zip) for name in ("again", "cut"))
    shorter = made(tmp_path / "shorter", base, step_zip, EPOCHS - 1)
    run(again)
    run(shorter)
    with pytest.raises(StoppedError):
        run(cut, stop_after(2, cut))
    _, events = run(cut)
    epochs = [e.epoch for e in events if isinstance(e, ProgressEvent) and e.epoch_end]
    assert epochs == [3, 4]  # what was done was not done again
    whole = learned(trained)
    noise, apart = (torch.dist(whole, learned(job)).item() for job in (again, cut))
    an_epoch = torch.dist(whole, learned(shorter)).item()
    assert an_epoch > 0, "an epoch more or less is seen"
    assert apart <= 3 * noise + 0.02 * an_epoch


@on_gpu
@pytest.mark.parametrize("chosen", [{}, {"rows": "all"}, {"residual": True}])
def test_units_are_learned_there(
    base: StepJob, step_zip: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    job = make_job(
        tmp_path,
        step_zip,
        ("ring",),
        first_index=3,
        old_version=base.result / "version",
        settings={"method": "frozen", "method_settings": {"units": 4, **chosen}},
    )
    result, _ = run(job)
    assert result.settings["device"] == "cuda"
    before, after = (load_version(one.result / "version") for one in (base, job))
    assert after.model.head.width == before.model.head.width + 4
    assert after.features is not None
    assert after.features.features.shape[1] == after.model.head.width


@on_gpu
@pytest.mark.filterwarnings("ignore")  # torch's and onnx's, about the exporter
@torch.no_grad()
def test_what_it_learned_is_served_as_it_was_computed(trained: StepJob) -> None:
    version = trained.result / "version"
    graph = onnxruntime.InferenceSession(version / "model.onnx", providers=["CPUExecutionProvider"])
    model = load_version(version).model.eval().to("cuda")
    rng = np.random.default_rng(0)
    for shape in [(1, 3, 32, 32), (4, 3, 48, 33), (2, 3, 40, 100), (1, 3, 160, 224)]:
        pictures = rng.standard_normal(shape, np.float32)
        (served,) = graph.run(["logits"], {graph.get_inputs()[0].name: pictures})
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            computed = model(torch.from_numpy(pictures).to("cuda")).float().cpu()
        labels = torch.from_numpy(served).argmax(1)
        differs = labels != computed.argmax(1)
        assert differs.float().mean() <= 0.005
        best = computed.topk(2, dim=1).values
        assert ((best[:, 0] - best[:, 1])[differs] <= MARGIN).all()
        torch.testing.assert_close(torch.from_numpy(served), computed, atol=1e-3, rtol=1e-3)
