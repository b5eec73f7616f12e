"""What is left of a class that was taken away: hidden, unlearned, and unlearned without pictures.

    python -m benchmarks.drawn_pictures runs/drawn
    nice -n 19 python -m benchmarks.retiring runs/drawn --classes mushroom,fish,leaf,star \
        --retire fish

DATA is a folder of labelled pictures with splits. A version learns all classes, another one (the
"unaware") all but the one that goes, from the pictures that do not show it; both by the service's
own job. Then the class is taken away, by the service's own job again: at both depths, with and
without the collision, and from made-up pictures alone. Prints what was measured, and puts it into
`retiring.json` of `--results`, where every data set and class has its place. Versions stay in
`--out`: a command that was cut off goes on.
"""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.machine import stamped, without_folders, write_record
from benchmarks.retiring_versions import Bench, base, fresh, never, training_told
from sats_core.data.readers import open_reader
from sats_core.data.sources import DirectorySource
from sats_core.export import load_version
from sats_core.job import (
    Depth,
    HeldOutPictures,
    Proof,
    RetireJob,
    RetireResult,
)
from sats_core.method_settings import UnlearnSettings
from sats_core.settings import Limits, StepSettings
from sats_core.training.at_hand import look_through, open_sources
from sats_core.training.proof import Subject, proof
from sats_core.training.retire import run_retire
from sats_core.training.unlearning import Before

LEAST_CLOSED = {"drawn": 0.8, "voc8": 0.5}
"""Of the gap between the version before and the unaware one, by the data set's name."""
MOST_LOST = 0.02
"""mIoU of what stays."""
HIDDEN, UNLEARNED, MADE_UP = "hide", "unlearn", "unlearn, made-up pictures"


DEFAULT = UnlearnSettings()


@dataclass(frozen=True)
class Variant:
    """One way to take a class away.

    Attributes:
        name: in the table.
        depth: as a job has it.
        weights: of the losses.
        bare: whether it is given no picture.
    """

    name: str
    depth: Depth
    weights: UnlearnSettings = DEFAULT
    bare: bool = False


VARIANTS = (
    Variant(HIDDEN, Depth.HIDE),
    Variant(UNLEARNED, Depth.UNLEARN),
    Variant("unlearn, with collision", Depth.UNLEARN, UnlearnSettings(collision_weight=0.1)),
    Variant(
        "unlearn, collision alone",
        Depth.UNLEARN,
        UnlearnSettings(erasure_weight=0, separation_weight=0, collision_weight=1),
    ),
    Variant(MADE_UP, Depth.UNLEARN, bare=True),
)


def retire(bench: Bench, variant: Variant, aware: Path, unaware: Path) -> dict[str, Any]:
    """Take the class away in one way and return what was measured."""
    whole = _job(bench, variant, aware, unaware)
    job = whole
    if variant.bare:
        job = whole.model_copy(update={"earlier": (), "memory": None, "dataset": None})
    if not (job.result / "result.json").exists():
        run_retire(job, training_told(variant.name), never, variant.weights)
    result = RetireResult.model_validate_json((job.result / "result.json").read_bytes())
    found = _measured(whole, job.result / "version") if variant.bare else result.proof
    lost = None
    if found.miou_before is not None and found.miou_after is not None:
        lost = found.miou_before - found.miou_after
    return {
        "variant": variant.name,
        "depth": str(variant.depth),
        "weights": variant.weights.model_dump() if variant.depth is Depth.UNLEARN else None,
        "miou_lost": lost,
        "seconds": round(result.seconds, 1),
        **found.model_dump(mode="json"),
        "pictures": result.proof.pictures,
    }


def _job(bench: Bench, variant: Variant, aware: Path, unaware: Path) -> RetireJob:
    folder = bench.out / "retired" / variant.name.replace(", ", "-").replace(" ", "_")
    return RetireJob(
        old_version=aware / "version",
        classes=(bench.gone,),
        depth=variant.depth,
        settings=bench.unlearning,
        dataset=fresh(bench),
        earlier=(HeldOutPictures(path=aware / "held_out.zip", classes=bench.classes),),
        memory=aware / "memory.zip",
        unaware=unaware / "version",
        limits=Limits(),
        threads=torch.get_num_threads(),
        work=folder / "work",
        result=folder,
    )


def _measured(job: RetireJob, version: Path) -> Proof:
    """Measure a version on pictures that its retirement was not given."""
    old, new = load_version(job.old_version), load_version(version)
    channels = tuple(sorted(old.catalogue.channels(job.classes)))
    size = int(old.config["size"])
    before = Before(old.model.eval(), size, old.catalogue.foreground, channels)
    unaware = load_version(job.unaware) if job.unaware else None
    subject = Subject(before, old.catalogue, new.model, new.catalogue, unaware)
    with ExitStack() as stack:
        sources = open_sources(stack, job, old.catalogue, _silent)
        pictures = look_through(sources, before.names, job.settings.seed, _silent, never)
        return proof(subject, pictures, "noise", _nothing)


def bars(data: str, runs: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Return whether each bar holds.

    Args:
        data: name of the data set.
        runs: of one class.
    """
    by_name = {run["variant"]: run for run in runs}
    hidden, unlearned = by_name[HIDDEN], by_name[UNLEARNED]
    least = LEAST_CLOSED.get(data, LEAST_CLOSED["voc8"])
    closed, lost = unlearned["piggyback"]["gap_closed"], unlearned["miou_lost"]
    return {
        f"unlearn closes {least} of the gap": closed is not None and closed >= least,
        f"unlearn loses at most {MOST_LOST} mIoU of what stays": lost <= MOST_LOST,
        f"hide loses at most {MOST_LOST} mIoU of what stays": hidden["miou_lost"] <= MOST_LOST,
        "hide closes none": not hidden["piggyback"]["gap_closed"],
    }


def _silent(_event: object) -> None:
    return None


def _nothing() -> None:
    return None


def told(run: dict[str, Any]) -> str:
    """Return a run as a line."""
    piggyback, membership = run["piggyback"] or {}, run["membership"] or {}
    figures = {
        "closed": piggyback.get("gap_closed"),
        "again before": piggyback.get("before"),
        "after": piggyback.get("after"),
        "unaware": piggyback.get("unaware"),
        "mIoU lost": run["miou_lost"],
        "to background": run["to_background"],
        "AUC before": membership.get("before"),
        "AUC after": membership.get("after"),
    }
    parts = [f"{name} {'-' if v is None else format(v, '.3f')}" for name, v in figures.items()]
    return f"{run['variant']}: {', '.join(parts)}, {run['seconds']} s"


def main(
    data: Annotated[Path, typer.Argument(help="Folder of labelled pictures with splits.")],
    classes: Annotated[str, typer.Option(help="That the version learns, by commas.")],
    retire_class: Annotated[str, typer.Option("--retire", help="The one that goes.")],
    variants: Annotated[str, typer.Option(help="Names, by semicolons; all by default.")] = "",
    backbone: Annotated[str, typer.Option(help="Of both versions.")] = "pvt_v2_b0",
    backbone_dir: Annotated[
        Path | None, typer.Option(help="Folder of pretrained weights; without it, random ones.")
    ] = None,
    size: Annotated[int, typer.Option(help="Pixels.")] = 64,
    pictures: Annotated[int, typer.Option(help="Most of a base step.")] = 1000,
    posted: Annotated[int, typer.Option(help="Pictures that come with the retirement.")] = 400,
    epochs: Annotated[int, typer.Option(help="Of a base step.")] = 12,
    unlearning: Annotated[int, typer.Option(help="Epochs of unlearning.")] = 60,
    memory: Annotated[int, typer.Option(help="Pictures that a version keeps.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    out: Annotated[Path, typer.Option(help="Where versions stay.")] = Path("runs/retiring"),
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Run what is not there yet, and write what was measured."""
    torch.set_num_threads(threads)
    shared: dict[str, Any] = {"backbone": backbone, "size": size, "seed": seed}
    start = {"pretrained": backbone_dir is not None}
    settings = {**shared, **start, "epochs": epochs, "memory": memory}
    names = tuple(classes.split(","))
    chosen = [v for v in VARIANTS if not variants or v.name in variants.split(";")]
    place = f"{data.name}, {retire_class}, {backbone}, seed {seed}"
    with closing(DirectorySource(data, Limits())) as source:
        bench = Bench(
            open_reader(source),
            names,
            retire_class,
            StepSettings.model_validate(settings),
            backbone_dir,
            StepSettings.model_validate({**shared, "epochs": unlearning}),
            pictures,
            posted,
            out / place.replace(", ", "-").replace(" ", ""),
        )
        aware = base(bench, "aware", names, ())
        unaware = base(bench, "unaware", bench.stays, (retire_class,))
        runs = []
        for variant in chosen:
            runs.append(retire(bench, variant, aware, unaware))
            typer.echo(told(runs[-1]))
    asked = ["--classes", classes, "--retire", retire_class, "--backbone", backbone]
    asked += ["--backbone-dir", "BACKBONES"] if backbone_dir else []
    for name, value in (
        *(("size", size), ("pictures", pictures), ("posted", posted), ("epochs", epochs)),
        *(("unlearning", unlearning), ("memory", memory), ("seed", seed)),
    ):
        asked += [f"--{name}", str(value)]
    record = stamped(
        "cuda" if torch.cuda.is_available() else "cpu",
        command=f"python -m benchmarks.retiring {' '.join(without_folders([str(data), *asked]))}",
        load_average=os.getloadavg()[1],
        bars=bars(data.name, runs) if {HIDDEN, UNLEARNED} <= {v.name for v in chosen} else {},
        runs=runs,
    )
    path = results / "retiring.json"
    records = json.loads(path.read_text()) if path.exists() else {}
    write_record(results, path.name, {**records, place: record})
    for bar, holds in record["bars"].items():
        typer.echo(f"{'holds' if holds else 'BROKEN'}: {bar}")


if __name__ == "__main__":
    typer.run(main)
