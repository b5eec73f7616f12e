"""What a training step costs: every method against fine-tuning, and the loop against bare torch.

    python -m benchmarks.step_cost

Times one step (forward passes, losses, backward pass, clipping, optimiser) of every method on the
same batch, the parts of a `sats` step one by one, and the pictures per second of the real training
loop against forward and backward pass alone. Writes `docs/results/step_cost.json` and prints
whether each bar holds.
"""

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.machine import machine_load, stamped
from benchmarks.step_bench import DESCENDING, OLD, Bench, Size, timed
from sats_core.data.batches import StepBatches
from sats_core.data.cache import PictureCache
from sats_core.heap import keep_freed_memory
from sats_core.losses import attention_transfer, unbiased_distillation
from sats_core.methods import Sats, make_method
from sats_core.methods.finetune import at_size, cross_entropy
from sats_core.training.loop import autocast, train
from sats_core.training.schedule import make_optimizer

MOST_TIMES_FINETUNE = 1.5
LEAST_OF_BARE = 0.9
PICTURES = 320
BARE = "forward and backward"

Record = dict[str, Any]


SIZES = {
    "cpu": (Size("pvt_v2_b0", 128, 16), Size("pvt_v2_b0", 256, 8)),
    "cuda": (Size("pvt_v2_b2", 512, 24),),
}
QUICK = (Size("pvt_v2_b0", 32, 2),)


def parts(bench: Bench, repeats: int) -> dict[str, float]:
    """Return what each part of a `sats` step takes, ms."""
    model = copy.deepcopy(bench.grown).train()
    settings = bench.settings("sats")
    method = make_method(settings, model, bench.old)
    if not isinstance(method, Sats):
        raise TypeError("sats is made by Sats")
    method.prepare([(bench.pixels, bench.labels)])
    optimizer = make_optimizer(model, settings)
    spent: dict[str, list[float]] = {}

    @contextmanager
    def part(name: str) -> Iterator[None]:
        bench.synchronise()
        began = time.perf_counter()
        yield
        bench.synchronise()
        spent.setdefault(name, []).append(1000 * (time.perf_counter() - began))

    for _ in range(repeats + 1):
        with autocast(bench.device, bench.size.pixels):
            with part("old model, forward"), torch.no_grad():
                old = method.teacher.observe(bench.pixels)
            with part("pseudo-labels"), torch.no_grad():
                old_logits = at_size(old.logits, bench.labels)
                supervision = method.supervise(bench.labels, old_logits)
            with part("new model, forward"):
                new = model.observe(bench.pixels)
            with part("cross-entropy"):
                logits = at_size(new.logits, bench.labels)
                plain = method.supervised(logits, supervision)
            with part("distillation"):
                distillation = unbiased_distillation(logits, old_logits).mean()
            with part("attention transfer"):
                transfer = attention_transfer(old.attention, new.attention, supervision.pseudo)
        with part("backward"):
            optimizer.zero_grad(set_to_none=True)
            # Weights cost nothing, and are left out.
            torch.stack([plain, distillation, transfer]).sum().backward()
        with part("clipping and optimiser"):
            nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
            optimizer.step()
    return {name: statistics.median(values[1:]) for name, values in spent.items()}


def loop_rate(bench: Bench, epochs: int) -> float:
    """Return pictures per second of the training loop by fine-tuning, all it does included."""
    settings = bench.settings("finetune").model_copy(update={"epochs": epochs})
    model = copy.deepcopy(bench.grown)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with PictureCache(folder / "pictures.raw", settings.size) as cache:
            for _ in range(PICTURES):
                side = 2 * settings.size
                picture = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
                cache.add(picture, rng.integers(0, 2, (side, side), dtype=np.uint8) * OLD)
            batches = StepBatches(cache, settings.size, settings.batch_size, 0)
            method = bench.made(settings, model)
            began = time.perf_counter()
            train(model, method, batches, settings, folder, "", lambda _: None, lambda: False)
            bench.synchronise()
            return epochs * len(batches) * batches.batch_size / (time.perf_counter() - began)


def compiled(bench: Bench) -> Callable[[], None]:
    """Return a step by fine-tuning whose forward and backward pass are compiled."""
    model = copy.deepcopy(bench.grown).train()
    optimizer = make_optimizer(model, bench.settings("finetune"))

    def loss() -> Tensor:
        with autocast(bench.device, bench.size.pixels):
            return cross_entropy(at_size(model(bench.pixels), bench.labels), bench.labels)

    fast: Any = torch.compile(loss)

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        fast().backward()
        optimizer.step()

    return once


def measure(size: Size, device: str, repeats: int, epochs: int, compile_too: bool) -> Record:
    """Measure one size."""
    load = machine_load()
    bench = Bench(size, device)
    steps = {name: bench.step(name) for name in DESCENDING}
    if compile_too:
        steps["finetune, compiled"] = compiled(bench)
    milliseconds = timed(bench, {**steps, BARE: bench.bare()}, repeats)
    bare = 1000 * size.batch / milliseconds.pop(BARE)
    looped = loop_rate(bench, epochs)
    return stamped(
        device,
        machine_load=load,
        backbone=size.backbone,
        pixels=size.pixels,
        batch=size.batch,
        ms_per_step=milliseconds,
        times_finetune={n: ms / milliseconds["finetune"] for n, ms in milliseconds.items()},
        sats_parts_ms=parts(bench, repeats),
        bare_pictures_per_second=bare,
        loop_pictures_per_second=looped,
        loop_over_bare=looped / bare,
    )


def bars(records: list[Record]) -> dict[str, bool]:
    """Return whether each bar holds."""
    return {
        f"a sats step costs at most {MOST_TIMES_FINETUNE} x a finetune step": all(
            r["times_finetune"]["sats"] <= MOST_TIMES_FINETUNE for r in records
        ),
        f"the loop reaches {LEAST_OF_BARE} of bare forward and backward": all(
            r["loop_over_bare"] >= LEAST_OF_BARE for r in records
        ),
    }


def tables(record: Record) -> Iterator[Table]:
    """Return one size's figures."""
    name = f"{record['backbone']}, {record['pixels']} px, batch {record['batch']}"
    steps = Table("method", "ms a step", "x finetune", title=name)
    for method, ms in record["ms_per_step"].items():
        steps.add_row(method, f"{ms:.0f}", f"{record['times_finetune'][method]:.2f}")
    yield steps
    shares = Table("part of a sats step", "ms", "share")
    whole = sum(record["sats_parts_ms"].values())
    for part, ms in record["sats_parts_ms"].items():
        shares.add_row(part, f"{ms:.1f}", f"{ms / whole:.1%}")
    yield shares


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("docs/results"),
    quick: Annotated[bool, typer.Option(help="A tiny size only, to see that it works.")] = False,
    compile_too: Annotated[
        bool, typer.Option("--compile", help="Time a compiled step as well.")
    ] = torch.cuda.is_available(),
) -> None:
    """Measure every size of the device there is, and write the figures."""
    keep_freed_memory()
    console = Console()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    records = []
    for size in QUICK if quick else SIZES[device]:
        record = measure(size, device, 1 if quick else 9, 1 if quick else 3, compile_too)
        records.append(record)
        for table in tables(record):
            console.print(table)
        console.print(
            f"loop {record['loop_pictures_per_second']:.1f} pictures/s, bare "
            f"{record['bare_pictures_per_second']:.1f}: {record['loop_over_bare']:.2f}"
        )
    met = bars(records)
    results.mkdir(parents=True, exist_ok=True)
    whole = {"command": "python -m benchmarks.step_cost", "bars": met, "records": records}
    (results / "step_cost.json").write_text(json.dumps(whole, indent=1) + "\n")
    for bar, holds in met.items():
        console.print(f"{'holds' if holds else 'BROKEN'}: {bar}")


if __name__ == "__main__":
    typer.run(main)
