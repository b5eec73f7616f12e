"""Looking for the head's operations while the model learns, beside the all-MLP head.

    nice -n 10 python -m benchmarks.head_search

Draws pictures. For each seed a base step looks for an operation on each edge of the head
(`benchmarks.head_cells`, after EDAS, arXiv 1912.01237). Then the head that it found, one whose
operations are drawn by lot, and the all-MLP head learn from scratch, from the same start by the
same schedule. The backbone is small, one block a stage, unless another one is named. Prints mIoU on
pictures that nobody trained on, parameters, time of a forward pass and of the search, and puts them
into `head_search.json` of `--results`.
"""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer

from benchmarks.drawn_pictures import draw
from benchmarks.head_cells import ALL_MLP, EDGES, NAMES, SHARPNESS, CellHead, SearchHead
from benchmarks.intervals import paired
from benchmarks.machine import machine_load, stamped, write_record
from benchmarks.retiring_versions import never, training_told
from sats_core.classes import Catalogue
from sats_core.data.labels import step_lookup
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import DirectorySource
from sats_core.data.transforms import Pixels
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.models import Segmenter, seeded_backbone
from sats_core.models.head import AllMlpHead, head_width
from sats_core.settings import Limits, StepSettings
from sats_core.training.learn import learn
from sats_core.training.schedule import filled_in
from sats_core.training.start import Start, placed
from tests.fixtures.backbones import TINY

CLASSES = ("mushroom", "fish", "leaf", "star", "house", "bottle")
WARM_UP = 1 / 3
"""Of the search's passes."""
TIMED = 30
HeadOf = Callable[[Sequence[int], int], AllMlpHead]


@dataclass(frozen=True)
class Bench:
    """What all trainings share.

    Attributes:
        reader: of the data set.
        pictures: that train, with labels.
        settings: of every training but for its seed.
        work: a folder for what a training leaves.
    """

    reader: Reader
    pictures: Sequence[tuple[Pixels, Pixels]]
    settings: StepSettings
    work: Path

    @property
    def passes(self) -> int:
        """How many training passes one training has."""
        return self.settings.epochs * max(1, len(self.pictures) // self.settings.batch_size)


def trained(bench: Bench, name: str, seed: int, head_of: HeadOf) -> tuple[Segmenter, float]:
    """Train a base step with a head of one's own; return the model and the seconds it took."""
    catalogue = Catalogue.empty().grow(CLASSES, range(1, len(CLASSES) + 1))
    settings = filled_in(bench.settings.model_copy(update={"seed": seed}), base=True)
    backbone = seeded_backbone(settings.backbone, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Segmenter(backbone, catalogue.sizes())
        torch.manual_seed(seed)
        model.head = head_of(backbone.channels, head_width(backbone.name))
    start = Start(placed(model), None, catalogue, settings, "scratch")
    work = bench.work / f"{name}-{seed}"
    work.mkdir()
    began = time.monotonic()
    learn(start, bench.pictures, (), work, name, training_told(f"{name}, seed {seed}"), never)
    return model.eval(), time.monotonic() - began


def miou(bench: Bench, model: Segmenter) -> float:
    """Return the mean IoU on the validation pictures, some of which show a class."""
    catalogue = Catalogue.empty().grow(CLASSES, range(1, len(CLASSES) + 1))
    held_out = HeldOut(bench.reader, bench.reader.splits["val"], CLASSES)
    found = score(model, bench.settings.size, catalogue, {}, [held_out], lambda: None)
    return round(cast(float, found.scores.miou_all), 4)


@torch.no_grad()
def milliseconds(model: Segmenter, size: int) -> float:
    """Return the median processor time of a forward pass over one picture."""
    pixels = torch.zeros(1, 3, size, size)
    took = []
    for _ in range(TIMED + 3):
        began = time.thread_time()
        model(pixels)
        took.append(1000 * (time.thread_time() - began))
    return round(statistics.median(took[3:]), 2)


def searched(bench: Bench, seed: int) -> dict[str, Any]:
    """Look for operations; return those that lead at the end, their shares, and the cost."""
    warm_up = int(WARM_UP * bench.passes)
    model, seconds = trained(
        bench, "search", seed, lambda channels, width: SearchHead(channels, width, warm_up, seed)
    )
    head = cast(SearchHead, model.head)
    shares = (SHARPNESS * head.strengths.detach()).softmax(dim=1)
    return {
        "seed": seed,
        "choices": list(head.choices()),
        "shares": [dict(zip(NAMES, row, strict=True)) for row in shares.round(decimals=3).tolist()],
        "miou_of_search": miou(bench, model),
        "head_parameters": _parameters(head),
        "seconds": round(seconds, 1),
    }


def compared(bench: Bench, name: str, choices: Sequence[str], seed: int) -> dict[str, Any]:
    """Train a head with these operations from scratch; return what came of it."""
    model, seconds = trained(
        bench, name, seed, lambda channels, width: CellHead(channels, width, choices)
    )
    return {
        "head": name,
        "seed": seed,
        "choices": list(choices),
        "miou": miou(bench, model),
        "head_parameters": _parameters(model.head),
        "forward_ms": milliseconds(model, bench.settings.size),
        "seconds": round(seconds, 1),
    }


def by_lot(seed: int) -> tuple[str, ...]:
    """Return operations that nobody looked for."""
    return tuple(random.Random(seed).choices(NAMES, k=EDGES))


def differences(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return each head's mIoU less the all-MLP head's over the seeds, with 95 % intervals."""
    found = {}
    scores = {name: {r["seed"]: r["miou"] for r in runs if r["head"] == name} for name in HEADS}
    for name in HEADS[1:]:
        interval = paired(scores[name], scores[HEADS[0]])
        found[name] = interval._asdict() if interval else None
    return found


HEADS = ("all-MLP", "found", "by lot")


def _parameters(head: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in head.parameters())


def _pictures(reader: Reader) -> list[tuple[Pixels, Pixels]]:
    lookup = step_lookup(reader.classes, {name: i for i, name in enumerate(CLASSES, start=1)})
    read = map(reader.read, reader.splits["train"])
    return [(one.picture, lookup[one.label]) for one in read]


def main(
    backbone: Annotated[str, typer.Option(help="Of the model.")] = TINY,
    size: Annotated[int, typer.Option(help="Of a crop, pixels.")] = 64,
    pictures: Annotated[int, typer.Option(help="That train.")] = 200,
    validation: Annotated[int, typer.Option(help="That score.")] = 60,
    epochs: Annotated[int, typer.Option(help="Of the search and of each training.")] = 6,
    seeds: Annotated[str, typer.Option(help="By commas.")] = "0,1",
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Search, train what was found beside its marks, and write down what came of it."""
    torch.set_num_threads(threads)
    load = machine_load()
    chosen = {"backbone": backbone, "size": size, "epochs": epochs, "features": 0}
    settings = StepSettings.model_validate({**chosen, "pretrained": False})
    searches, runs = [], []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "drawn"
        draw(data, pictures, validation, size, seed=6)
        with closing(DirectorySource(data, Limits())) as source:
            reader = open_reader(source)
            bench = Bench(reader, _pictures(reader), settings, Path(name))
            for seed in map(int, seeds.split(",")):
                searches.append(searched(bench, seed))
                typer.echo(json.dumps(searches[-1]))
                wanted = (ALL_MLP, tuple(searches[-1]["choices"]), by_lot(seed))
                for head, choices in zip(HEADS, wanted, strict=True):
                    runs.append(compared(bench, head, choices, seed))
                    typer.echo(json.dumps(runs[-1]))
    asked = {"backbone": backbone, "size": size, "pictures": pictures, "validation": validation}
    asked |= {"epochs": epochs, "seeds": seeds, "threads": threads}
    words = " ".join(f"--{option} {value}" for option, value in asked.items())
    record = stamped(
        "cpu",
        command=f"python -m benchmarks.head_search {words}",
        machine_load=load,
        candidates=NAMES,
        searches=searches,
        runs=runs,
        less_all_mlp=differences(runs),
    )
    write_record(results, "head_search.json", record)


if __name__ == "__main__":
    typer.run(main)
