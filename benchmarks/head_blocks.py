"""What a non-local block behind the head costs: softmax against scaling.

    nice -n 19 python -m benchmarks.head_blocks

One block on the features of one picture, forward and backward, one map, one thread, each case in a
process of its own: `explicit` forms the softmax map, `softmax` runs the fused kernel, `scaled`
needs no map; and the attention transfer of each. What heads are worth `benchmarks.occlusion` says.
Writes `docs/results/head_blocks.json`.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.attention_transfer import blocky_labels
from benchmarks.machine import machine_load, peak, reset_peak, stamped, write_record
from sats_core.losses import QueryKey, attention_transfer, scaled_attention_transfer
from sats_core.models.nonlocal_block import NonLocal, ScaledNonLocal, SoftmaxNonLocal

WIDTH = 256
SIDES = (64, 128)
"""Of the grid of positions: 4,096 and 16,384."""
REPEATS, MOST_SECONDS = 3, 20
"""Measured at most so often, and not again after so long."""
REGIONS = 8

PRELOADED = ["benchmarks.attention_transfer", "sats_core.models.nonlocal_block"]
"""Imported once, for all processes."""

Row = dict[str, Any]


class ExplicitNonLocal(SoftmaxNonLocal):
    """Softmax attention that forms its map."""

    def gathered(self, query: Tensor, key: Tensor, value: Tensor, positions: int) -> Tensor:
        """See `NonLocal.gathered`."""
        del positions
        return torch.softmax(query @ key.mT * self.scale(query), dim=-1) @ value


BLOCKS: dict[str, type[NonLocal]] = {
    "explicit": ExplicitNonLocal,
    "softmax": SoftmaxNonLocal,
    "scaled": ScaledNonLocal,
}
TRANSFERS = {"softmax": attention_transfer, "scaled": scaled_attention_transfer}


def block_step(name: str, side: int) -> Callable[[], None]:
    """Return forward and backward pass of a block with one map, on one picture."""
    torch.manual_seed(0)
    block = BLOCKS[name](WIDTH, heads=1)
    torch.nn.init.normal_(block.back.weight, std=0.01)
    pixels = torch.randn(1, side, side, WIDTH, requires_grad=True)
    return lambda: block(pixels).square().mean().backward()


def transfer_step(name: str, side: int) -> Callable[[], None]:
    """Return forward and backward pass of a block's attention transfer, likewise."""
    torch.manual_seed(0)
    shape, grid = (1, 1, side * side, WIDTH // 2), (side, side)
    # As many positions, or the width: what A is divided by.
    scale = 1 / side**2 if name == "scaled" else shape[-1] ** -0.5
    old, new = (QueryKey(torch.randn(shape), torch.randn(shape), scale, grid) for _ in range(2))
    new.query.requires_grad_()
    new.key.requires_grad_()
    labels = blocky_labels(side, REGIONS, "cpu")[:1]
    return lambda: TRANSFERS[name]([old], [new], labels).backward()


STEPS = {"block": block_step, "transfer": transfer_step}


def measured(what: str, name: str, side: int) -> Row:
    """Measure one case, on one thread; to be run in a new process."""
    torch.set_num_threads(1)
    STEPS[what](name, 8)()
    once = STEPS[what](name, side)
    clock, processor, used = list[float](), list[float](), 0.0
    while len(clock) < REPEATS and sum(clock) < MOST_SECONDS:
        before = reset_peak()
        began, spent = time.perf_counter(), time.process_time()
        once()
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - spent)
        used = max(used, peak() - before)
    return {
        "what": what,
        "kind": name,
        "positions": side**2,
        "ms": round(1000 * statistics.median(clock), 1),
        "processor_ms": round(1000 * statistics.median(processor), 1),
        "peak_mib": round(used, 1),
        "repeats": len(clock),
    }


def costs(sides: Sequence[int]) -> list[Row]:
    """Measure every case, each in a process of its own."""
    context, rows = multiprocessing.get_context("forkserver"), []
    context.set_forkserver_preload(PRELOADED)
    cases = [("block", name) for name in BLOCKS] + [("transfer", name) for name in TRANSFERS]
    for side in sides:
        for what, name in cases:
            with context.Pool(1) as pool:
                rows.append(pool.apply(measured, (what, name, side)))
            typer.echo(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


def main(
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
    quick: Annotated[bool, typer.Option(help="Small sizes only, to see that it works.")] = False,
) -> None:
    """Measure every case and write the figures."""
    record = stamped(
        "cpu",
        command="python -m benchmarks.head_blocks",
        width=WIDTH,
        maps=1,
        nice=os.nice(0),
        load_before=machine_load(),
        cost=costs((16,) if quick else SIDES),
    ) | {"threads": 1}
    write_record(results, "head_blocks.json", record)


if __name__ == "__main__":
    typer.run(main)
