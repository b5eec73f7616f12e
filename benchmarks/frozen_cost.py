"""What a step by `frozen` costs beside its one pass over the pictures.

    python -m benchmarks.frozen_cost

Feature maps stand for those of SegFormer-B2 at a crop of 512 pixels: 768 channels, 128 x 128
positions, each class around a mean of its own; and noise for what its stages give. 200 pictures'
maps are sampled, then units are learned and the rows of new classes are solved on the sample and on
as many features as a version keeps by default, with as many steps of the search as it may take:
real pictures need fewer. How large a crop is makes a difference
to sampling alone. Making the maps is not counted. Writes `docs/results/frozen_cost.json` and prints
whether the bar holds: 20 seconds on two cores.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor

from benchmarks.machine import machine_load, stamped, write_record
from sats_core.method_settings import FrozenSettings
from sats_core.methods.features import FeatureMemory, usual_share
from sats_core.methods.frozen import replayed
from sats_core.methods.rows import solve_rows
from sats_core.methods.sampling import PixelSampler
from sats_core.methods.units import learn_units
from sats_core.models import GrowingClassifier
from sats_core.settings import KEPT_FEATURES

MOST_SECONDS = 20.0
BAR = f"sampling, units and rows take at most {MOST_SECONDS:g} s"
NEVER_ENOUGH = 1e-12
"""A tolerance at which the search goes on until it has taken all its steps."""


class Case(NamedTuple):
    """What is measured.

    Attributes:
        pictures: whose maps are sampled.
        width: of the features.
        stages: channels of each stage.
        side: of a map, positions.
        old: channels of the model before, background counted.
        new: classes of the step.
        kept: features that the version before keeps.
    """

    pictures: int
    width: int
    stages: tuple[int, ...]
    side: int
    old: int
    new: int
    kept: int


WHOLE = Case(200, 768, (64, 128, 320, 512), 128, 151, 3, KEPT_FEATURES)
QUICK = Case(4, 16, (2, 4, 8, 16), 16, 5, 2, 50)


class Spent:
    """Seconds by the clock and of the processor.

    Attributes:
        clock: of what was counted so far.
        processor: the same of all threads together.
    """

    def __init__(self) -> None:
        self.clock = self.processor = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is inside."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.clock += time.perf_counter() - clock
        self.processor += time.process_time() - processor


def means(case: Case) -> Tensor:
    """Return the mean of each class, (old + new, width)."""
    return torch.randn(case.old + case.new, case.width, generator=torch.Generator().manual_seed(0))


def maps(case: Case) -> Iterator[tuple[Tensor, Tensor, list[Tensor]]]:
    """Yield features (D, side, side), labels (4 side, 4 side), a square of a new class, and what
    each stage gives, (C_s, side / 2^s, side / 2^s)."""
    chance = torch.Generator().manual_seed(1)
    old, new, side = case.old, case.new, case.side
    mean = means(case)[:, :, None, None]
    for number in range(case.pictures):
        labels = torch.zeros(4 * side, 4 * side, dtype=torch.long)
        labels[side : 3 * side, side : 3 * side] = old + number % new
        noise = torch.randn(case.width, side, side, generator=chance)
        features = noise + mean[number % old]
        middle = slice(side // 4, 3 * side // 4)
        features[:, middle, middle] += mean[old + number % new] - mean[number % old]
        stages = [
            torch.randn(channels, side >> stage, side >> stage, generator=chance)
            for stage, channels in enumerate(case.stages)
        ]
        yield features.relu_(), labels, stages


def memory(case: Case) -> FeatureMemory:
    """Return what the version before keeps: as many features of each of its classes."""
    chance = torch.Generator().manual_seed(2)
    labels = torch.arange(case.kept) % case.old
    features = means(case)[labels] + torch.randn(case.kept, case.width, generator=chance)
    weights = torch.full((case.kept,), 1 / case.kept)
    stages = torch.randn(case.kept, sum(case.stages), generator=chance)
    return FeatureMemory(features.relu_(), labels, torch.ones_like(labels), weights, stages)


def measure(case: Case) -> dict[str, Any]:
    """Return what sampling and solving took, seconds by the clock and of the processor."""
    torch.manual_seed(0)
    settings = FrozenSettings(tolerance=NEVER_ENOUGH)
    before, kept = GrowingClassifier(case.width, [case.old]), memory(case)
    sampler = PixelSampler(case.old + case.new, settings.pixels, seed=0)
    sampling, learning, solving = Spent(), Spent(), Spent()
    for features, labels, stages in maps(case):
        with sampling.counted():
            sampler.add(features, labels, stages)
    with sampling.counted():
        sample = sampler.sample()
    if sample is None:
        raise RuntimeError("every pixel is ignored")
    share = usual_share(case.old, case.old + case.new)
    with learning.counted():
        every = replayed(sample, kept, case.old, share)
        units = learn_units(every, before, case.new, settings, 0, lambda: None)
    if every.stages is None:
        raise RuntimeError("nothing was read of the stages")
    with solving.counted():
        old = before.logits(every.features)
        every = every._replace(features=units.beside(every.features, every.stages))
        rows = solve_rows(every, old, case.new, settings, lambda: None)
    return {
        **case._asdict(),
        "pixels": len(every.kinds),
        "iterations": rows.iterations,
        "sampling_seconds": round(sampling.clock, 2),
        "sampling_processor_seconds": round(sampling.processor, 2),
        "units": settings.units,
        "units_seconds": round(learning.clock, 2),
        "units_processor_seconds": round(learning.processor, 2),
        "solving_seconds": round(solving.clock, 2),
        "solving_processor_seconds": round(solving.processor, 2),
    }


def bars(record: dict[str, Any]) -> dict[str, bool]:
    """Return whether the bar holds, by the clock."""
    parts = ("sampling_seconds", "units_seconds", "solving_seconds")
    return {BAR: sum(record[part] for part in parts) <= MOST_SECONDS}


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("docs/results"),
    threads: Annotated[int, typer.Option(help="Of torch.")] = 2,
    quick: Annotated[bool, typer.Option(help="A tiny size only, to see that it works.")] = False,
) -> None:
    """Measure, and write the figures."""
    torch.set_num_threads(threads)
    load = machine_load()
    found = measure(QUICK if quick else WHOLE)
    record = stamped("cpu", machine_load=load, **found)
    command = f"python -m benchmarks.frozen_cost --threads {threads}"
    met = {} if quick else bars(record)  # the bar is of the whole size
    whole = {"command": command + " --quick" * quick, "bars": met, "record": record}
    write_record(results, "frozen_cost.json", whole)
    typer.echo(", ".join(f"{name} {value}" for name, value in found.items()))
    for bar, holds in met.items():
        typer.echo(f"{'holds' if holds else 'BROKEN'}: {bar}")


if __name__ == "__main__":
    typer.run(main)
