"""Attention transfer against the explicit map and against the loop of the literature's code.

    python -m benchmarks.attention_transfer

One stage, forward and backward, time and peak memory, each case in a process of its own:
`ours` pools in chunks; `explicit` forms the whole map and pools it by one product; `loop` forms
the whole map and goes through pictures, classes and heads. Writes
`docs/results/attention_transfer.json` and prints whether each bar holds.
"""

import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import peak, reset_peak, stamped
from sats_core.losses import QueryKey, attention_transfer

BATCH, DEPTH = 4, 32
SIDES = (32, 64, 128)
"""Of the query grid: L = 1,024, 4,096 and 16,384."""
CLASSES = (21, 151)
REDUCTIONS = (8, 1)
"""Queries per key and side: 8 as in stage 1 of PVTv2 and MiT, 1 as in a plain ViT."""
MOST_ENTRIES = 2**28
"""Of one whole map, 1 GiB; a larger one is not formed."""
MOST_LOOP_ENTRIES = 2**24
"""Of the map that the loop goes through; every region's backward pass makes all of it anew."""
REPEATS, LEAST_SECONDS, MOST_SECONDS = 7, 0.5, 10
"""At least so many times and so long, but no longer."""
FASTER = 20
"""Times that `ours` must be faster than `loop` at the largest L."""
GROWTH = 1.5
"""Most that peak memory may grow over the growth of L."""

Loss = Callable[[QueryKey, QueryKey, Tensor], Tensor]
Record = dict[str, Any]


def ours(old: QueryKey, new: QueryKey, labels: Tensor) -> Tensor:
    """Return the project's loss."""
    return attention_transfer([old], [new], labels)


def explicit(old: QueryKey, new: QueryKey, labels: Tensor) -> Tensor:
    """Return the same from the whole map, pooled by one matrix product."""
    small = F.interpolate(labels[:, None].double(), size=new.grid, mode="nearest-exact")
    classes = small.unique()
    classes = classes[(classes != 0) & (classes != 255)]
    member = (small.flatten(2) == classes[:, None]).to(new.query.dtype)
    sizes = member.sum(dim=2, keepdim=True)
    weights = (member / sizes.clamp(min=1))[:, None]
    with torch.no_grad():
        target = weights @ _map(old)
    distance = torch.linalg.vector_norm(weights @ _map(new) - target, dim=-1).mean(dim=1)
    present = (sizes[..., 0] > 0).to(distance.dtype)
    shares = present / present.sum(dim=1, keepdim=True).clamp(min=1)
    mean: Tensor = (distance * shares).sum(dim=1).mean()
    return mean / 4


def loop(old: QueryKey, new: QueryKey, labels: Tensor) -> Tensor:
    """Return the same picture by picture, class by class, head by head."""
    with torch.no_grad():
        before = _map(old)
    now = _map(new)
    small = F.interpolate(labels[:, None].double(), size=new.grid, mode="nearest-exact")
    total = now.new_zeros(())
    for image, flat in enumerate(small[:, 0].long().flatten(1)):
        classes = [c for c in flat.unique().tolist() if c not in (0, 255)]
        for c in classes:
            region = flat == c
            for head in range(now.shape[1]):
                change = now[image, head, region].mean(0) - before[image, head, region].mean(0)
                total = total + change.norm() / (now.shape[1] * len(classes))
    return total / len(labels) / 4


def _map(attention: QueryKey) -> Tensor:
    return torch.softmax(attention.query @ attention.key.mT * attention.scale, dim=-1)


LOSSES: dict[str, Loss] = {"ours": ours, "explicit": explicit, "loop": loop}


def inputs(side: int, reduction: int, classes: int, device: str) -> tuple[QueryKey, ...]:
    """Return old and new attention of one stage with one head, seeded."""
    torch.manual_seed(side * 1000 + reduction * 100 + classes)
    keys = (side // reduction) ** 2

    def one() -> QueryKey:
        query = torch.randn(BATCH, 1, side * side, DEPTH, device=device)
        key = torch.randn(BATCH, 1, keys, DEPTH, device=device)
        return QueryKey(query, key, DEPTH**-0.5, (side, side))

    return one(), one()


def blocky_labels(side: int, classes: int, device: str) -> Tensor:
    """Return labels (B, side, side) in blocks as scenes have them, every class but 0 possible."""
    coarse = torch.randint(0, classes, (BATCH, 1, 16, 16), device=device).float()
    return F.interpolate(coarse, size=(side, side), mode="nearest")[:, 0].long()


def measure(name: str, side: int, reduction: int, classes: int, device: str) -> Record:
    """Time one loss, forward and backward, and find its peak memory; to be run in a new process."""
    old, new = inputs(side, reduction, classes, device)
    labels = blocky_labels(side, classes, device)
    new.query.requires_grad_()
    new.key.requires_grad_()

    def step() -> float:
        new.query.grad = new.key.grad = None
        loss = LOSSES[name](old, new, labels)
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return loss.item()

    step()
    before = reset_peak()
    began = time.perf_counter()
    value = step()
    first = time.perf_counter() - began
    used = peak() - before
    times = [first]
    while (len(times) < REPEATS or sum(times) < LEAST_SECONDS) and sum(times) < MOST_SECONDS:
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {"ms": 1000 * statistics.median(times), "peak_mib": used, "value": value}


def compare(side: int, reduction: int, classes: int, device: str) -> Record:
    """Measure every loss at one size, each in its own process.

    Raises:
        ValueError: the losses do not agree.
    """
    queries = side * side
    keys = (side // reduction) ** 2
    entries = BATCH * queries * keys
    most = {"ours": entries, "explicit": MOST_ENTRIES, "loop": MOST_LOOP_ENTRIES}
    names = [name for name in LOSSES if entries <= most[name]]
    record: Record = {"L": queries, "K": keys, "classes": classes, "batch": BATCH, "heads": 1}
    context = multiprocessing.get_context("spawn")
    for name in names:
        with context.Pool(1) as pool:
            record[name] = pool.apply(measure, (name, side, reduction, classes, device))
    for name in names:
        if abs(record[name]["value"] - record["ours"]["value"]) > 1e-4 * record["ours"]["value"]:
            raise ValueError(f"{name} gives {record[name]['value']}: {record}")
    for name in names[1:]:
        record[f"times_faster_than_{name}"] = record[name]["ms"] / record["ours"]["ms"]
    return stamped(device, **record)


def bars(records: list[Record]) -> dict[str, bool]:
    """Return whether each bar holds."""
    compared = [r for r in records if "explicit" in r]
    looped = [r for r in records if "loop" in r]
    most = max(r["L"] for r in looped)
    met = {
        "never slower than the explicit map": all(
            r["times_faster_than_explicit"] >= 1 for r in compared
        ),
        f"at least {FASTER} x faster than the loop at L = {most:,}": all(
            r["times_faster_than_loop"] >= FASTER for r in looped if r["L"] == most
        ),
    }
    for classes in sorted({r["classes"] for r in records}):
        same = sorted((r for r in records if r["classes"] == classes and r["K"] == r["L"]), key=_l)
        if len(same) > 1:
            growth = same[-1]["ours"]["peak_mib"] / max(same[0]["ours"]["peak_mib"], 1)
            allowed = GROWTH * same[-1]["L"] / same[0]["L"]
            met[f"peak memory grows with L, not L x K ({classes} classes)"] = growth <= allowed
    return met


def _l(record: Record) -> int:
    return int(record["L"])


def table(records: list[Record]) -> Table:
    """Return all cases, milliseconds and MiB."""
    out = Table(title="forward + backward: ms (peak MiB)")
    for column in ("device", "L", "K", "classes", *LOSSES, "x explicit", "x loop"):
        out.add_column(column, justify="right")
    for r in records:
        cells = [
            f"{r[n]['ms']:.1f} ({r[n]['peak_mib']:.0f})" if n in r else "not measured"
            for n in LOSSES
        ]
        ratios = [
            f"{r[f'times_faster_than_{n}']:.1f}" if n in r else "" for n in ("explicit", "loop")
        ]
        out.add_row(r["device"], f"{r['L']:,}", f"{r['K']:,}", str(r["classes"]), *cells, *ratios)
    return out


def main(
    results: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("docs/results"),
    quick: Annotated[bool, typer.Option(help="Small sizes only, to see that it works.")] = False,
) -> None:
    """Measure every size on every device there is, and write the figures."""
    console = Console()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    records = []
    for device in devices:
        for reduction in REDUCTIONS:
            for side in SIDES[:1] if quick else SIDES:
                for classes in CLASSES:
                    records.append(compare(side, reduction, classes, device))
                    console.print(table(records[-1:]))
    met = bars(records)
    results.mkdir(parents=True, exist_ok=True)
    whole = {"command": "python -m benchmarks.attention_transfer", "bars": met, "records": records}
    (results / "attention_transfer.json").write_text(json.dumps(whole, indent=1) + "\n")
    console.print(table(records))
    for bar, holds in met.items():
        console.print(f"{'holds' if holds else 'BROKEN'}: {bar}")


if __name__ == "__main__":
    typer.run(main)
