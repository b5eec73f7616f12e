"""What a non-local block behind the head costs and brings: softmax against scaling.

    nice -n 19 python -m benchmarks.head_blocks path/to/backbones

Cost: one block on the features of one picture, forward and backward, each case in a process of its
own: `explicit` forms the softmax map, `softmax` runs the fused kernel, `scaled` needs no map; and
the attention transfer of each. Worth: heads trained on an encoder that stays, on quarters of drawn
pictures of 256 pixels (1,024 positions each), scored on whole ones (4,096 positions) and on four of
them side by side (16,384). Writes `docs/results/head_blocks.json`.
"""

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from benchmarks.attention_transfer import blocky_labels
from benchmarks.intervals import mean_known
from benchmarks.machine import machine_load, peak, reset_peak, stamped, without_folders
from benchmarks.occlusion import CLASSES, scenes
from demo.pictures import Scene
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import normalise, predict
from sats_core.losses import QueryKey, attention_transfer, scaled_attention_transfer
from sats_core.methods.finetune import cross_entropy
from sats_core.models import Segmenter, start_backbone
from sats_core.models.nonlocal_block import NonLocal, ScaledNonLocal, SoftmaxNonLocal
from sats_core.version_config import HeadName

WIDTH = 256
SIDES = (64, 128)
"""Of the grid of positions: 4,096 and 16,384."""
REPEATS, MOST_SECONDS = 3, 20
"""Measured at most so often, and not again after so long."""
REGIONS = 8
SIZE, BATCH, RATE = 256, 8, 1e-3
HEADS: tuple[HeadName, ...] = ("all_mlp", "softmax", "scaled")

Row = dict[str, Any]


class ExplicitNonLocal(SoftmaxNonLocal):
    """Softmax attention that forms its map."""

    def gathered(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `NonLocal.gathered`."""
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
    context.set_forkserver_preload(["benchmarks.head_blocks"])  # imported once
    cases = [("block", name) for name in BLOCKS] + [("transfer", name) for name in TRANSFERS]
    for side in sides:
        for what, name in cases:
            with context.Pool(1) as pool:
                rows.append(pool.apply(measured, (what, name, side)))
            typer.echo(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


def tiled(drawn: Sequence[Scene]) -> list[Scene]:
    """Return each four pictures side by side, as one."""

    def square(four: Sequence[Any]) -> Any:
        rows = [np.concatenate(four[i : i + 2], axis=1) for i in (0, 2)]
        return np.concatenate(rows, axis=0)

    fours = [drawn[i : i + 4] for i in range(0, len(drawn) - 3, 4)]
    return [Scene(square([s.picture for s in f]), square([s.objects for s in f])) for f in fours]


def quartered(drawn: Sequence[Scene]) -> list[Scene]:
    """Return the quarters of pictures, as pictures of their own."""
    half = len(drawn[0].picture) // 2
    places = [np.s_[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    return [Scene(s.picture[place], s.objects[place]) for s in drawn for place in places]


def learned(
    head: HeadName, drawn: Sequence[Scene], epochs: int, seed: int, backbones: Path | None
) -> Segmenter:
    """Return a model whose head and classifier were trained on an encoder that stays."""
    backbone, _ = start_backbone("mit_b0", seed, backbones is not None, backbones)
    torch.manual_seed(seed)
    model = Segmenter(backbone.eval().requires_grad_(False), [len(CLASSES) + 1], head=head)
    with torch.no_grad():
        seen = [model.backbone(_pixels(model, scene)) for scene in drawn]
    # Labels at the logits' size: a quarter of the picture's.
    labels = [torch.from_numpy(scene.objects[2::4, 2::4].astype(np.int64)) for scene in drawn]
    parameters = [*model.head.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.01)
    steps = epochs * (len(drawn) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    model.train_step(base=True)
    for epoch in range(epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(drawn))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[first : first + BATCH]
            stages = [torch.cat(parts) for parts in zip(*(seen[i] for i in batch), strict=True)]
            logits = model.classifier(model.dropout(model.head(stages)))
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(logits, torch.stack([labels[i] for i in batch])).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _pixels(model: Segmenter, scene: Scene) -> Tensor:
    return normalise(torch.from_numpy(scene.picture).permute(2, 0, 1)[None], model)


def miou(model: Segmenter, drawn: Sequence[Scene]) -> float | None:
    """Return the mIoU over background and classes."""
    matrix = ConfusionMatrix(len(CLASSES) + 1)
    for scene in drawn:
        matrix.add(scene.objects, predict(model, scene.picture, len(scene.picture)))
    return mean_known(matrix.iou())


def worth(
    train: int,
    validation: int,
    epochs: int,
    seeds: Sequence[int],
    size: int,
    backbones: Path | None,
) -> Iterator[Row]:
    """Train and score every head; seeds differ in weights and order, not in pictures."""
    drawn, shown = quartered(scenes(train, 0, size)), scenes(validation, 100, size)
    for seed in seeds:
        for head in HEADS:
            began = time.process_time()
            model = learned(head, drawn, epochs, seed, backbones)
            row: Row = {"head": head, "seed": seed}
            row["training_processor_seconds"] = round(time.process_time() - began, 1)
            for pictures in (shown, tiled(shown)):
                positions = (len(pictures[0].picture) // 4) ** 2
                row[f"miou_at_{positions}"] = round(miou(model, pictures) or 0, 4)
            typer.echo(", ".join(f"{key} {value}" for key, value in row.items()))
            yield row


def main(
    backbones: Annotated[
        Path | None, typer.Argument(help="Folder that holds mit_b0; without it, from scratch.")
    ] = None,
    train: Annotated[int, typer.Option(help="Training pictures.")] = 40,
    validation: Annotated[int, typer.Option(help="Validation pictures.")] = 24,
    epochs: Annotated[int, typer.Option(help="Of each head.")] = 4,
    seeds: Annotated[str, typer.Option(help="Separated by commas.")] = "0",
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
    quick: Annotated[bool, typer.Option(help="Small sizes only, to see that it works.")] = False,
) -> None:
    """Measure costs and mIoU, and write them."""
    torch.set_num_threads(1)
    load, sides, size = machine_load(), (16,) if quick else SIDES, 64 if quick else SIZE
    given = without_folders([str(backbones)] if backbones else [])
    options = ["--train", str(train), "--validation", str(validation), "--epochs", str(epochs)]
    brought = list[Row]()
    record = stamped(
        "cpu",
        command=" ".join(["python -m benchmarks.head_blocks", *given, *options, "--seeds", seeds]),
        width=WIDTH,
        maps=1,
        nice=os.nice(0),
        load_before=load,
        cost=costs(sides),
        training_pictures=train,
        validation_pictures=validation,
        epochs=epochs,
        size=size,
        miou=brought,
    )
    results.mkdir(parents=True, exist_ok=True)
    path = results / "head_blocks.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    for row in worth(
        train, validation, epochs, [int(seed) for seed in seeds.split(",")], size, backbones
    ):
        brought.append(row)
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
