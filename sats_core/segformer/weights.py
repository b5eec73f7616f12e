"""Tensors between Hugging Face's SegFormer and ours; names are `names`' business."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sats_core.data.names import printable
from sats_core.errors import ModelError
from sats_core.segformer import names

Shapes = Mapping[str, tuple[int, ...]]

_BACKBONE = "backbone.net."
_CLASSIFIER = "classifier."
STAGES = 4
_TYPES = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32}
)
MOST_NAMED = 5
MOST_CHARACTERS = 200
"""Tensors at fault that a message names, and how much of each name."""


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our model's tensors as Hugging Face's: classic names, one classifier.

    Args:
        state: `Segmenter.state_dict()` of a `mit_*` backbone.
    """
    out: dict[str, Tensor] = {}
    rows: dict[str, list[Tensor]] = {"weight": [], "bias": []}
    for name, tensor in state.items():
        if name.startswith(_BACKBONE):
            parts = names.of_timm(name.removeprefix(_BACKBONE))
            out.update(zip(parts, tensor.chunk(len(parts)), strict=True))
        elif name.startswith(_CLASSIFIER):
            rows[name.rpartition(".")[2]].append(tensor)
        elif name == names.MIX:
            out[names.FUSE] = _reversed_blocks(tensor)[:, :, None, None]
        else:
            out[names.of_head(name)] = tensor
    for kind, tensors in rows.items():
        out[names.CLASSIFIER + kind] = torch.cat(tensors)
    return {name: tensor.detach().contiguous().clone() for name, tensor in out.items()}


def from_hub(
    tensors: Mapping[str, Tensor], ours: Iterable[str], sizes: Iterable[int]
) -> dict[str, Tensor]:
    """Return Hugging Face's tensors as our model's; the other way of `to_hub`.

    Args:
        tensors: by classic names, complete.
        ours: names of `Segmenter.state_dict()`.
        sizes: rows of the classifier that each step brought.
    """
    state = {}
    rows = {
        kind: tensors[names.CLASSIFIER + kind].split(list(sizes)) for kind in ("weight", "bias")
    }
    for name in ours:
        if name.startswith(_BACKBONE):
            parts = names.of_timm(name.removeprefix(_BACKBONE))
            state[name] = torch.cat([tensors[part] for part in parts])
        elif name.startswith(_CLASSIFIER):
            _, _, step, kind = name.split(".")
            state[name] = rows[kind][int(step)]
        elif name == names.MIX:
            state[name] = _reversed_blocks(tensors[names.FUSE][:, :, 0, 0])
        else:
            state[name] = tensors[names.of_head(name)]
    return state


def encoder_from_hub(tensors: Mapping[str, Tensor], ours: Iterable[str]) -> dict[str, Tensor]:
    """Return the encoder's tensors under timm's names.

    Args:
        tensors: by classic names, complete.
        ours: names of timm's `state_dict()`.
    """
    return {name: torch.cat([tensors[part] for part in names.of_timm(name)]) for name in ours}


def shapes_of(state: Mapping[str, Tensor], labels: int) -> Shapes:
    """Return the shapes of Hugging Face's tensors for a model of ours, by classic names.

    Args:
        state: `Segmenter.state_dict()`.
        labels: rows of the classifier there.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in to_hub(state).items()}
    for kind in ("weight", "bias"):
        name = names.CLASSIFIER + kind
        shapes[name] = (labels, *shapes[name][1:])
    return shapes


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by their classic names.

    Raises:
        ModelError: two tensors have one name there.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        known = names.classic(name)
        if known in found:
            raise ModelError(f"the weights have the tensor {known} twice, by both sets of names")
        found[known] = tensor
    return found


def check(tensors: Mapping[str, Tensor], wanted: Shapes) -> None:
    """Hold tensors to the shapes that a model has.

    Raises:
        ModelError: naming what is missing, unexpected, of another shape or type, no finite number,
            or a variance below 0.
    """
    missing = sorted(wanted.keys() - tensors.keys() - {names.COUNTER})
    if missing:
        raise ModelError(f"the weights lack {_listed(missing)}")
    unexpected = sorted(tensors.keys() - wanted.keys())
    if unexpected:
        raise ModelError(f"the weights have what a SegFormer has not: {_listed(unexpected)}")
    strange = [name for name, tensor in sorted(tensors.items()) if not _is_plain(tensor)]
    if strange:
        raise ModelError(f"the weights are of a type that is not read in {_listed(strange)}")
    wrong = [
        f"{name} {list(tensor.shape)} instead of {list(wanted[name])}"
        for name, tensor in sorted(tensors.items())
        if tuple(tensor.shape) != wanted[name]
    ]
    if wrong:
        raise ModelError(f"the weights do not fit config.json: {_listed(wrong)}")
    odd = [name for name, tensor in sorted(tensors.items()) if not _is_finite(tensor)]
    if odd:
        raise ModelError(f"the weights are no finite numbers in {_listed(odd)}")
    variance = tensors.get(names.VARIANCE)  # an encoder by itself has none
    if variance is not None and (variance < 0).any():
        raise ModelError(f"the weights have variances below 0 in {names.VARIANCE}")


def as_float(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors in float32, the batch norm's counter, which many files lack, filled in."""
    counter = tensors.get(names.COUNTER, torch.tensor(0))
    floats = {name: tensor.float() for name, tensor in tensors.items()}
    return {**floats, names.COUNTER: counter.long()}


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has ordinary numbers in ordinary memory: neither sparse, nor packed, nor
    without any data, all of which a file can hold."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_nested
        and tensor.dtype in _TYPES
    )


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor.float()).all())


def _reversed_blocks(weight: Tensor) -> Tensor:
    """Return (W, 4 W) with its column blocks in reverse order."""
    return torch.cat(weight.chunk(STAGES, dim=1)[::-1], dim=1)


def _listed(found: list[str]) -> str:
    more = len(found) - MOST_NAMED
    shown = (name[:MOST_CHARACTERS] for name in found[:MOST_NAMED])
    return printable(", ".join(shown)) + (f" and {more} more" if more > 0 else "")
