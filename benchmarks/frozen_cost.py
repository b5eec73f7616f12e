"""What a step by `frozen` costs beside its one pass over the pictures.

    python -m benchmarks.frozen_cost

Feature maps stand for those of SegFormer-B2 at a crop of 512 pixels: 768 channels, 128 x 128
positions, each class around a mean of its own. 200 pictures' maps are sampled, then the rows of new
classes are solved, with as many steps of the search as it may take: real pictures need fewer. How
large a crop is makes a difference to sampling alone. Making the maps is not counted. Writes
`docs/results/frozen_cost.json` and prints whether the bar holds: 20 seconds on two cores.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.machine import machine_load, stamped, write_record
from sats_core.method_settings import FrozenSettings
from sats_core.methods.rows import solve_rows
from sats_core.methods.sampling import PixelSampler
from sats_core.models import GrowingClassifier

MOST_SECONDS = 20.0
BAR = f"sampling and solving take at most {MOST_SECONDS:g} s"
NEVER_ENOUGH = 1e-12
"""A tolerance at which the search goes on until it has taken all its steps."""


def maps(
    pictures: int, width: int, side: int, old: int, new: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features (D, side, side) with labels (4 side, 4 side): a square of a new class."""
    chance = torch.Generator().manual_seed(0)
    means = torch.randn(old + new, width, 1, 1, generator=chance)
    for number in range(pictures):
        labels = torch.zeros(4 * side, 4 * side, dtype=torch.long)
        labels[side : 3 * side, side : 3 * side] = old + number % new
        noise = torch.randn(width, side, side, generator=chance)
        features = noise + means[number % old]
        middle = slice(side // 4, 3 * side // 4)
        features[:, middle, middle] += means[old + number % new] - means[number % old]
        yield features.relu_(), labels


def measure(pictures: int, width: int, side: int, old: int, new: int) -> dict[str, Any]:
    """Return what sampling and solving took, seconds by the clock and of the processor."""
    torch.manual_seed(0)
    settings = FrozenSettings(tolerance=NEVER_ENOUGH)
    before = GrowingClassifier(width, [old])
    sampler = PixelSampler(old + new, settings.pixels, seed=0)
    spent = {"sampling": [0.0, 0.0], "solving": [0.0, 0.0]}
    for features, labels in maps(pictures, width, side, old, new):
        began = time.perf_counter(), time.process_time()
        sampler.add(features, labels)
        _add(spent["sampling"], began)
    began = time.perf_counter(), time.process_time()
    sample = sampler.sample()
    if sample is None:
        raise RuntimeError("every pixel is ignored")
    _add(spent["sampling"], began)
    began = time.perf_counter(), time.process_time()
    logits = before.logits(sample.features)
    solve_rows(sample, logits, new, settings, lambda: None)
    _add(spent["solving"], began)
    return {
        "pictures": pictures,
        "width": width,
        "positions": side**2,
        "old_classes": old,
        "new_classes": new,
        "pixels": len(sample.kinds),
        "iterations": settings.iterations,
        **{f"{name}_seconds": round(values[0], 2) for name, values in spent.items()},
        **{f"{name}_processor_seconds": round(values[1], 2) for name, values in spent.items()},
    }


def _add(spent: list[float], began: tuple[float, float]) -> None:
    spent[0] += time.perf_counter() - began[0]
    spent[1] += time.process_time() - began[1]


def bars(record: dict[str, Any]) -> dict[str, bool]:
    """Return whether the bar holds, by the clock."""
    return {BAR: record["sampling_seconds"] + record["solving_seconds"] <= MOST_SECONDS}


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("docs/results"),
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    quick: Annotated[bool, typer.Option(help="A tiny size only, to see that it works.")] = False,
) -> None:
    """Measure, and write the figures."""
    torch.set_num_threads(threads)
    load = machine_load()
    sizes = (4, 16, 16, 5, 2) if quick else (200, 768, 128, 151, 3)
    found = measure(*sizes)
    record = stamped("cpu", machine_load=load, **found)
    met = bars(record)
    whole = {"command": "python -m benchmarks.frozen_cost", "bars": met, "record": record}
    write_record(results, "frozen_cost.json", whole)
    typer.echo(", ".join(f"{name} {value}" for name, value in found.items()))
    for bar, holds in met.items():
        typer.echo(f"{'holds' if holds else 'BROKEN'}: {bar}")


if __name__ == "__main__":
    typer.run(main)
