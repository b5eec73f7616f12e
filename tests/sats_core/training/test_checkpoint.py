"""A checkpoint is taken up by the very step that wrote it, or by none."""

import json
import logging
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sats_core.job import HeldOutChoice, HeldOutPictures, RetireJob, StepJob
from sats_core.models import Segmenter
from sats_core.retirement import Depth
from sats_core.settings import Limits, StepSettings
from sats_core.training import checkpoint
from sats_core.training.checkpoint import fingerprint_of, fingerprint_of_retirement
from sats_core.training.schedule import filled_in, make_optimizer
from sats_core.training.start import begin
from tests.sats_core.training.conftest import SMALL, make_job

STEP = "a" * 64
ROWS = "model.classifier.steps.0.weight"
MOMENT = "optimizer.0.exp_avg"
COUNT = "optimizer.0.step"
Tensors = dict[str, Tensor]
Trained = tuple[Segmenter, torch.optim.Optimizer]
Change = Callable[[Tensors, dict[str, str]], tuple[Tensors, Any]]


def made(folder: Path, optimizer: str = "adamw") -> Trained:
    """A model before its first epoch."""
    start = begin(make_job(folder, folder / "none.zip", ("disc",)))
    settings = filled_in(StepSettings(**SMALL, optimizer=optimizer), base=True)
    return start.model, make_optimizer(start.model, settings)


def written(folder: Path, optimizer: str = "adamw") -> Trained:
    """A model after its first "epoch", in a checkpoint in `folder`."""
    model, descent = made(folder, optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    descent.step()
    checkpoint.save(folder, model, descent, 1, STEP)
    return model, descent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path)
    return tmp_path


def rewrite(folder: Path, tensors: Tensors, metadata: dict[str, str] | None) -> None:
    save_file(tensors, folder / checkpoint.NAME, metadata)


def read(folder: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(folder / checkpoint.NAME, "pt") as file:
        return load_file(folder / checkpoint.NAME), dict(file.metadata())


def starts_again(folder: Path) -> None:
    """Nothing is taken up, nothing is changed, and whoever reads the log is told."""
    model, descent = made(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert checkpoint.resume(folder, model, descent, STEP) == 0
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert not descent.state_dict()["state"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_model_and_moments_come_back(tmp_path: Path, optimizer: str) -> None:
    model, descent = written(tmp_path, optimizer)
    found, again = made(tmp_path, optimizer)
    assert checkpoint.resume(tmp_path, found, again, STEP) == 1
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=0, atol=0)
    kept, back = descent.state_dict()["state"], again.state_dict()["state"]
    assert len(kept) == len(back) == len(list(model.parameters()))
    torch.testing.assert_close(back, kept, rtol=0, atol=0)


def test_where_there_is_none_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starts_again(tmp_path)
    assert not caplog.records


def no_metadata(tensors: Tensors, metadata: dict[str, str]) -> tuple[Tensors, Any]:
    return tensors, None


def without(name: str) -> Change:
    return lambda tensors, metadata: (
        tensors,
        {known: value for known, value in metadata.items() if known != name},
    )


def renamed(name: str, new: str) -> Change:
    return lambda tensors, metadata: (
        {new if known == name else known: tensor for known, tensor in tensors.items()},
        metadata,
    )


def reshaped(name: str) -> Change:
    return lambda tensors, metadata: ({**tensors, name: torch.zeros(3, 1, 4)}, metadata)


def typed(name: str, dtype: torch.dtype) -> Change:
    return lambda tensors, metadata: ({**tensors, name: tensors[name].to(dtype)}, metadata)


def holding(name: str, value: float) -> Change:
    """One number in the middle of a tensor is another."""

    def change(tensors: Tensors, metadata: dict[str, str]) -> tuple[Tensors, Any]:
        tensor = tensors[name].clone()
        tensor.view(-1)[tensor.numel() // 2] = value
        return {**tensors, name: tensor}, metadata

    return change


def one_number(name: str) -> Change:
    return lambda tensors, metadata: ({**tensors, name: torch.zeros(())}, metadata)


def another_step(tensors: Tensors, metadata: dict[str, str]) -> tuple[Tensors, Any]:
    return tensors, {**metadata, "step": "b" * 64}


OTHER = "taken up: it is of another step, or of other code"
EPOCHS = "taken up: it does not say how many epochs it is after"
WEIGHTS = "taken up: its weights have other names, shapes or types than the model's"
LIKE = "has another shape or type than its weight"
MOMENTS = "taken up: the optimiser keeps something else of its weights"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(no_metadata, OTHER, id="no metadata"),
        pytest.param(without("step"), OTHER, id="no step"),
        pytest.param(another_step, OTHER, id="another step"),
        pytest.param(without("epochs"), EPOCHS, id="no epochs"),
        pytest.param(renamed(ROWS, "model.rows"), WEIGHTS, id="renamed"),
        pytest.param(reshaped(ROWS), WEIGHTS, id="another shape"),
        pytest.param(typed(ROWS, torch.float16), WEIGHTS, id="halved"),
        pytest.param(typed(ROWS, torch.int64), WEIGHTS, id="whole numbers"),
        pytest.param(holding(ROWS, nan), f"{ROWS[6:]} is not finite", id="nan"),
        pytest.param(holding(ROWS, -inf), f"{ROWS[6:]} is not finite", id="infinite"),
        pytest.param(typed(MOMENT, torch.float16), LIKE, id="moment halved"),
        pytest.param(one_number(MOMENT), LIKE, id="moment one number"),
        pytest.param(typed(COUNT, torch.int64), LIKE, id="count typed"),
        pytest.param(holding(MOMENT, nan), "of the optimiser is not finite", id="moment nan"),
        pytest.param(renamed(MOMENT, "optimizer.9999.exp_avg"), "no weight 9999", id="number"),
        pytest.param(renamed(MOMENT, "optimizer.m"), "no weight m", id="no number"),
        pytest.param(renamed(MOMENT, "optimizer.0.m"), MOMENTS, id="moment renamed"),
        pytest.param(reshaped(MOMENT), LIKE, id="moment reshaped"),
    ],
)
def test_one_of_other_code_is_warned_of_and_not_taken_up(
    folder: Path,
    change: Change,
    said: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tensors, metadata = read(folder)
    assert {ROWS, MOMENT} <= tensors.keys()
    rewrite(folder, *change(tensors, metadata))
    starts_again(folder)
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("the step starts again, its checkpoint cannot be taken")
    assert record.getMessage().endswith(said)


def test_moments_lie_in_memory_as_their_weights_do(folder: Path) -> None:
    """Fused optimisers walk through memory, whatever the order of the dimensions."""
    model, descent = made(folder)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert checkpoint.resume(folder, model, descent, STEP) == 1
    weights = [weight for group in descent.param_groups for weight in group["params"]]
    assert any(not weight.is_contiguous() for weight in weights)
    for number, kept in descent.state_dict()["state"].items():
        assert kept["exp_avg"].stride() == weights[number].stride()


def test_one_that_a_crash_cut_off_is_warned_of_and_not_taken_up(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / checkpoint.NAME
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    cuts = [0, 1, 7, 8, 9, header // 2, header - 1, header, header + 1, len(content) - 1]
    for number, cut in enumerate(cuts, start=1):
        file.write_bytes(content[:cut])
        starts_again(folder)
        assert len(caplog.records) == number, f"{cut} bytes"
        assert "it cannot be read (" in caplog.records[-1].getMessage()


def test_the_one_before_stays_until_the_next_is_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(tensors: Tensors, path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half of it")
        raise OSError("no room")

    monkeypatch.setattr(checkpoint, "save_file", dies)
    model, descent = made(folder)
    with pytest.raises(OSError, match="no room"):
        checkpoint.save(folder, model, descent, 2, STEP)
    assert checkpoint.resume(folder, model, descent, STEP) == 1
    assert [file.name for file in folder.glob("checkpoint*")] == [checkpoint.NAME]


@pytest.fixture
def job(tmp_path: Path) -> StepJob:
    files = {"old_version": tmp_path / "version", "memory": tmp_path / "pictures.zip"}
    return make_job(tmp_path, tmp_path / "step.zip", ("ring",), first_index=3, **files)


def test_a_checkpoint_of_other_training_code_is_of_another_step(
    job: StepJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = fingerprint_of(job)
    assert fingerprint_of(job) == now
    monkeypatch.setattr(checkpoint, "TRAINING", checkpoint.TRAINING - 1)
    assert fingerprint_of(job) != now


def changed(job: Any, change: dict[str, Any]) -> Any:
    """Return a job with other fields, or with other settings among the old ones."""
    if "settings" in change:
        change = {"settings": job.settings.model_copy(update=change["settings"])}
    return job.model_copy(update=change)


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": Path("another.zip")},
        {"old_version": None},
        {"memory": Path("memory.zip")},
        {"new_classes": ("disc",)},
        {"indices": (4,)},
        {"held_out": HeldOutChoice(share=0.3)},
        {"head": "focal"},
        *({"settings": {name: value}} for name, value in {"seed": 1, "epochs": 3}.items()),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_job_is_of_another_step(
    job: StepJob, change: dict[str, Any]
) -> None:
    other = changed(job, change)
    assert other != job
    assert fingerprint_of(other) != fingerprint_of(job)


def test_the_usual_head_is_in_no_fingerprint(job: StepJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints that were written before there were others are taken up."""
    monkeypatch.setattr(checkpoint, "_digest", lambda named, _files: named)
    fields = json.loads(fingerprint_of(job))
    assert fields.keys() == {"new_classes", "indices", "settings", "held_out"}


@pytest.mark.parametrize(
    "change",
    [
        {"halvings": 1},
        {"devices": 2},
        {"threads": 2},
        {"work": Path("w")},
        {"result": Path("r")},
        {"settings": {"accumulate": 2}},
        {"settings": {"checkpoint_activations": True}},
    ],
    ids=str,
)
def test_a_checkpoint_fits_wherever_and_however_its_step_is_run(
    job: StepJob, change: dict[str, Any]
) -> None:
    assert changed(job, change) != job
    assert fingerprint_of(changed(job, change)) == fingerprint_of(job)


@pytest.fixture
def retirement(tmp_path: Path) -> RetireJob:
    pictures = HeldOutPictures(path=tmp_path / "held_out.zip", classes=("disc",))
    return RetireJob(
        old_version=tmp_path / "version",
        classes=("disc",),
        depth=Depth.UNLEARN,
        settings=StepSettings(),
        dataset=tmp_path / "posted.zip",
        earlier=(pictures,),
        memory=tmp_path / "memory.zip",
        limits=Limits(),
        threads=1,
        work=tmp_path / "work",
        result=tmp_path / "result",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"old_version": Path("another")},
        {"classes": ("ring",)},
        {"depth": Depth.HIDE},
        {"dataset": None},
        {"dataset": Path("another.zip")},
        {"memory": None},
        {"memory": Path("another.zip")},
        {"earlier": ()},
        {"earlier": (HeldOutPictures(path=Path("another.zip"), classes=("disc",)),)},
        *({"settings": {name: value}} for name, value in {"seed": 1, "epochs": 3}.items()),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_retirement_is_of_another(
    retirement: RetireJob, change: dict[str, Any]
) -> None:
    now = fingerprint_of_retirement(retirement)
    assert fingerprint_of_retirement(retirement) == now
    assert fingerprint_of_retirement(changed(retirement, change)) != now


@pytest.mark.parametrize(
    "change",
    [
        {"unaware": Path("version")},
        {"threads": 2},
        {"work": Path("w")},
        {"result": Path("r")},
        {"settings": {"accumulate": 2}},
        {"settings": {"checkpoint_activations": True}},
    ],
    ids=str,
)
def test_a_checkpoint_fits_wherever_and_however_its_retirement_is_run(
    retirement: RetireJob, change: dict[str, Any]
) -> None:
    other = changed(retirement, change)
    assert other != retirement
    assert fingerprint_of_retirement(other) == fingerprint_of_retirement(retirement)


def test_a_checkpoint_of_other_unlearning_is_of_another_retirement(
    retirement: RetireJob, job: StepJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    retired, learned = fingerprint_of_retirement(retirement), fingerprint_of(job)
    monkeypatch.setattr(checkpoint, "UNLEARNING", checkpoint.UNLEARNING - 1)
    assert fingerprint_of_retirement(retirement) != retired
    assert fingerprint_of(job) == learned


def test_a_retirement_s_checkpoint_is_no_step_s(retirement: RetireJob, job: StepJob) -> None:
    assert fingerprint_of_retirement(retirement) != fingerprint_of(job)
    kind = retirement.model_copy(update={"kind": "another"})
    assert fingerprint_of_retirement(kind) != fingerprint_of_retirement(retirement)
