"""Checkpoints of a running step: safetensors, written whole or not at all."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sats_core.models import Segmenter

NAME = "checkpoint.safetensors"
_MODEL = "model."
_OPTIMIZER = "optimizer."


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
    partial = folder / f"{NAME}.partial"
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        partial,
        {"epochs": json.dumps(epochs), "step": step},
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(folder / NAME)


def resume(folder: Path, model: Segmenter, optimizer: torch.optim.Optimizer, step: str) -> int:
    """Bring model and optimiser to the last checkpoint of this very step.

    Returns:
        Epochs finished; 0 where there is no checkpoint, or one that is damaged or of another step.
    """
    path = folder / NAME
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        if metadata["step"] != step:
            return 0
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return 0
    model.load_state_dict(_under(_MODEL, tensors))
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, tensor in _under(_OPTIMIZER, tensors).items():
        number, name = key.split(".", 1)
        like = parameters[int(number)]
        # Fused optimisers walk through memory: moments must lie in it as their weights do.
        laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(number), {})[name] = laid_out
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return int(json.loads(metadata["epochs"]))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
