"""Short trainings, alone and then along with others: `python -m ... FOLDER NUMBER COUNT`.

Each process of `COUNT` trains every case and leaves its weights in the folder. The first one trains
them by itself before: to start a process for it takes longer than that.
"""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from sats_core.data.batches import StepBatches
from sats_core.data.transforms import Pixels
from sats_core.evaluation.predict import labelled_input
from sats_core.methods import Finetune, make_method
from sats_core.models import Segmenter, seeded_backbone
from sats_core.settings import StepSettings
from sats_core.training.division import UNDIVIDED, Division
from sats_core.training.loop import train
from sats_core.training.ranks import ALONE, Ranks, joined_group
from sats_core.training.schedule import filled_in
from sats_core.training.start import placed
from tests.fixtures.backbones import TINY

OLD, NEW, SIZE, STEPS = 3, 2, 32, 3
Case = Mapping[str, Any]

UNCLIPPED = {"gradient_clip": 1e6, "learning_rate": 0.002}
"""A norm that is clipped is the same whatever the gradients were multiplied with."""
CASES: dict[str, Case] = {
    "base": {"base": True},
    "base, 5 pictures": {"base": True, "batch_size": 5},
    "finetune": {"method": "finetune"},
    "finetune, clipped": {"method": "finetune", "gradient_clip": 0.1, "learning_rate": 0.2},
    "ilt": {"method": "ilt"},
    "plop": {"method": "plop"},
    "sats": {"method": "sats"},
    "sats, 5 pictures": {"method": "sats", "batch_size": 5},
    "sats, divided": {"method": "sats", "division": Division(2, recompute=True)},
    "sats_plus": {"method": "sats_plus"},
    "sats_plus, replayed": {"method": "sats_plus", "replayed": 4},
}


def drawn(count: int, labels: tuple[int, ...], seed: int) -> list[tuple[Pixels, Pixels]]:
    """Pictures in blots of the labels."""
    rng = np.random.default_rng(seed)
    blots = [rng.choice(np.array(labels, np.uint8), (6, 6)) for _ in range(count)]
    grown = [blot.repeat(8, axis=0).repeat(8, axis=1) for blot in blots]
    noise = rng.integers(0, 60, (count, 48, 48, 3), np.uint8)
    return [(noise[i] + (grown[i] % 7)[..., None] * 25, grown[i]) for i in range(count)]


def models(base: bool) -> tuple[Segmenter, Segmenter | None]:
    """The model to train, and the one before it."""
    torch.manual_seed(0)
    old = Segmenter(seeded_backbone(TINY, 0), [OLD]).eval()
    if base:
        return placed(old), None
    with torch.no_grad():  # sure of something, so that there is something to forget
        old.classifier.steps[0].weight.mul_(30)
    model = copy.deepcopy(old)
    model.classifier.grow(NEW)
    return placed(model), placed(old)


def trained(
    ranks: Ranks,
    work: Path,
    *,
    base: bool = False,
    division: Division = UNDIVIDED,
    replayed: int = 0,
    **chosen: Any,
) -> dict[str, Tensor]:
    """Train for a few steps and return the weights."""
    model, old = models(base)
    chosen = {"size": SIZE, "batch_size": 4, "epochs": 1, "optimizer": "sgd", **UNCLIPPED, **chosen}
    settings = filled_in(StepSettings(**chosen), base)
    method = make_method(settings, model, old)
    assert isinstance(method, Finetune)
    own = (0, 1, 2) if base else (0, 0, OLD, OLD + 1, 255)
    kept = drawn(replayed, (0, 1, 2), 2)
    a_batch = settings.batch_size // (2 if kept else 1)
    pictures = drawn(STEPS * a_batch, own, 1)
    batches = StepBatches(pictures, SIZE, settings.batch_size, 0, kept)
    assert len(batches) == STEPS
    looked = (labelled_input(*pair, SIZE, model) for pair in ranks.every(pictures))
    method.prepare(looked, ranks.total)
    work.mkdir(parents=True)
    said: list[Any] = []
    with model.backbone.recomputing(division.recompute):
        train(
            model,
            method,
            batches,
            settings,
            work,
            "step",
            said.append,
            lambda: False,
            ranks,
            division,
        )
    return {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}


def main(folder: Path, number: int, count: int) -> None:
    if number == 0:
        leave(folder, ALONE)
    with joined_group(number, count, folder / "store") as ranks:
        leave(folder, ranks)


def leave(folder: Path, ranks: Ranks) -> None:
    for name, case in CASES.items():
        work = folder / f"{name}-{ranks.number}-of-{ranks.count}"
        save_file(trained(ranks, work, **case), work / "weights.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
