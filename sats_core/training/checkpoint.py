"""Checkpoints of a running step: safetensors, written whole or not at all."""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sats_core.files import whole
from sats_core.job import CHECKPOINT, RetireJob, StepJob
from sats_core.models import Segmenter
from sats_core.version_config import ALL_MLP

NAME = CHECKPOINT
TRAINING = 3
"""Raised whenever training changes, crops, thresholds or normalisation say: a checkpoint of what
was before is not taken up, half a step of each would be a third thing."""
UNLEARNING = 2
"""The same of what a retirement does beside: its losses, and where its head starts."""
_MODEL = "model."
_OPTIMIZER = "optimizer."
_EPOCHS, _STEP = "epochs", "step"
_MOMENTS = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "SGD": {"momentum_buffer"}}
"""What an optimiser keeps of each of its weights."""
_COUNT = (torch.Size(()), torch.float32)
"""Shape and type of the steps that AdamW counts."""

_NO_MATTER = {"accumulate", "checkpoint_activations"}
"""Settings that change how a step is computed and not what it learns."""

_State = dict[int, dict[str, Tensor]]

log = logging.getLogger(__name__)


class _UnfitError(Exception):
    """A checkpoint that cannot be taken up; its message says why."""


def fingerprint_of(job: StepJob) -> str:
    """Return what a checkpoint must share with a step to be taken up by it."""
    named = job.model_dump_json(
        include={"new_classes", "indices", "settings", "held_out"}, exclude={"settings": _NO_MATTER}
    )
    files = (job.dataset, job.old_version, job.memory)
    # Others were not there when the checkpoints of today were written.
    head = "" if job.head == ALL_MLP else job.head
    return _digest(named + head, files)


def fingerprint_of_retirement(job: RetireJob) -> str:
    """Return what a checkpoint must share with a retirement to be taken up by it."""
    named = job.model_dump_json(
        include={"kind", "classes", "depth", "settings"}, exclude={"settings": _NO_MATTER}
    )
    earlier = (held_out.path for held_out in job.earlier)
    files = (job.old_version, job.dataset, job.memory, *earlier)
    return _digest(f"unlearning {UNLEARNING} {named}", files)


def _digest(named: str, files: Iterable[Path | None]) -> str:
    parts = (f"training {TRAINING}", named, *(file.name if file else "" for file in files))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def save(
    folder: Path, model: Segmenter, optimizer: torch.optim.Optimizer, epochs: int, step: str
) -> None:
    """Write the state after `epochs` epochs.

    Args:
        folder: the step's work folder.
        model: trained so far.
        optimizer: with its moments.
        epochs: finished.
        step: fingerprint of the step, so that no other one resumes from it.
    """
    tensors = {_MODEL + name: tensor for name, tensor in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{number}.{name}"] = value
    with whole(folder / NAME) as partial:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            partial,
            {_EPOCHS: json.dumps(epochs), _STEP: step},
        )


def resume(folder: Path, model: Segmenter, optimizer: torch.optim.Optimizer, step: str) -> int:
    """Bring model and optimiser to the last checkpoint of this very step.

    One that is damaged, not finite, of another step or of other code changes neither, and is
    warned of.

    Returns:
        Epochs finished; 0 where there is no checkpoint that fits.
    """
    path = folder / NAME
    if not path.exists():
        return 0
    try:
        epochs, tensors = _read(path, step)
        weights = _weights(tensors, model)
        state = _state(tensors, optimizer)
    except _UnfitError as error:
        log.warning("the step starts again, its checkpoint cannot be taken up: %s", error)
        return 0
    model.load_state_dict(weights)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return epochs


def _read(path: Path, step: str) -> tuple[int, dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if metadata.get(_STEP) != step:
            raise _UnfitError("it is of another step, or of other code")
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _UnfitError(f"it cannot be read ({error})") from error
    epochs = metadata.get(_EPOCHS, "")
    if not epochs.isdecimal():
        raise _UnfitError("it does not say how many epochs it is after")
    return int(epochs), tensors


def _weights(tensors: dict[str, Tensor], model: Segmenter) -> dict[str, Tensor]:
    found, wanted = _under(_MODEL, tensors), model.state_dict()
    if {n: _kind(t) for n, t in found.items()} != {n: _kind(t) for n, t in wanted.items()}:
        raise _UnfitError("its weights have other names, shapes or types than the model's")
    for name, tensor in found.items():
        _check_finite(name, tensor)
    return found


def _state(tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> _State:
    """Return the optimiser's state by the number of the weight that it is for."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = {str(number): number for number in range(len(parameters))}
    state: _State = {}
    for key, tensor in _under(_OPTIMIZER, tensors).items():
        number, _, name = key.partition(".")
        if number not in numbers:
            raise _UnfitError(f"the optimiser has no weight {number}")
        like = parameters[numbers[number]]
        if _kind(tensor) != (_COUNT if name == "step" else _kind(like)):
            raise _UnfitError(f"{key} of the optimiser has another shape or type than its weight")
        _check_finite(f"{key} of the optimiser", tensor)
        # Fused optimisers walk through memory: moments must lie in it as their weights do.
        laid_out = torch.empty_like(like).copy_(tensor) if tensor.ndim else tensor
        state.setdefault(numbers[number], {})[name] = laid_out
    if any(kept.keys() != _MOMENTS[type(optimizer).__name__] for kept in state.values()):
        raise _UnfitError("the optimiser keeps something else of its weights")
    return state


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _check_finite(name: str, tensor: Tensor) -> None:
    """Refuse what training cannot go on from: it would end as one that diverged."""
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise _UnfitError(f"{name} is not finite")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
