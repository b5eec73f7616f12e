"""How much of a picture can be rebuilt from the gradients of one step on it.

    nice -n 10 python -m benchmarks.gradient_leakage

Draws pictures, learns six classes from them by the service's own job, and attacks one step on each
of three pictures that were not trained on, as `sats audit gradients` does: without dropout, and
with the model's own, whose mask the attacker ignores, guesses along or reads off the gradients.
The model is small, one block a stage, as every iteration needs a second derivative of all of it.
Prints what was measured and puts it into `gradient_leakage.json` of `--results`, beside marks that
need no gradients.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
import typer

from benchmarks.drawn_pictures import draw
from benchmarks.machine import machine_load, stamped, write_record
from benchmarks.retiring_versions import never, training_told
from sats_core.classes import Catalogue
from sats_core.data.labels import step_lookup
from sats_core.data.readers import EncodedPicture, LabelledPicture, open_reader, write_voc_zip
from sats_core.data.sources import DirectorySource
from sats_core.data.transforms import View, evaluation_view, resize_label
from sats_core.export import load_version
from sats_core.job import HeldOutChoice, StepJob
from sats_core.leakage_report import Attack, AttackFound, LeakageJob, LeakageReport, Similarity
from sats_core.models import Segmenter
from sats_core.settings import Limits, StepSettings
from sats_core.training.leakage_audit import Subject, measured
from sats_core.training.step import run_step
from tests.fixtures.backbones import TINY

CLASSES = ("mushroom", "fish", "leaf", "star", "house", "bottle")
ATTACKED = 3


def learned(data: Path, folder: Path, backbone: str, size: int, epochs: int, seed: int) -> Path:
    """Train a base step on the drawn pictures and return its version's directory."""
    posted = folder / "posted.zip"
    with closing(DirectorySource(data, Limits())) as source:
        write_voc_zip(posted, _posted(source), CLASSES)
    settings = {"backbone": backbone, "size": size, "epochs": epochs, "seed": seed}
    job = StepJob(
        dataset=posted,
        old_version=None,
        new_classes=CLASSES,
        indices=tuple(range(1, len(CLASSES) + 1)),
        settings=StepSettings.model_validate({**settings, "pretrained": False}),
        held_out=HeldOutChoice(),
        earlier=(),
        limits=Limits(),
        backbone_dir=None,
        threads=torch.get_num_threads(),
        work=folder / "work",
        result=folder,
    )
    run_step(job, training_told("base"), never)
    return folder / "version"


def _posted(source: DirectorySource) -> Iterator[EncodedPicture]:
    reader = open_reader(source)
    lookup = step_lookup(reader.classes, {name: i for i, name in enumerate(CLASSES, start=1)})
    for picture_id in reader.splits["train"]:
        one = reader.encoded(picture_id)
        yield EncodedPicture(one.id, one.suffix, one.data, lookup[one.label])


def subjects(data: Path, catalogue: Catalogue, size: int) -> list[Subject]:
    """Return pictures that were not trained on, each labelled for one of the classes at least."""
    found = []
    with closing(DirectorySource(data, Limits())) as source:
        reader = open_reader(source)
        channels = {name: catalogue.channel(name) for name in CLASSES}
        lookup = step_lookup(reader.classes, channels)
        for picture_id in reader.splits["val"]:
            one: LabelledPicture = reader.read(picture_id)
            label = resize_label(lookup[one.label], size, size)
            if label.any():
                seen = evaluation_view(one.picture, View(stretch=(size, size)))
                found.append(Subject(one.id, seen, label, "given"))
    return found


def attacked(
    model: Segmenter, chosen: Sequence[Subject], job: LeakageJob, attacks: Sequence[Attack]
) -> list[LeakageReport]:
    """Attack a step on each picture but the last; the next one is its unrelated picture."""
    found = []
    for one, other in pairwise(chosen[: ATTACKED + 1]):
        place = job.out / one.name
        place.mkdir(parents=True)
        own = job.model_copy(update={"out": place})
        found.append(measured(model.eval(), one, own, other.picture, attacks))
    return found


def summed(reports: Sequence[LeakageReport]) -> list[dict[str, Any]]:
    """Return each mark's and each attack's means over the pictures."""
    rows = []
    for name in reports[0].marks:
        marks = [report.marks[name] for report in reports]
        rows.append({"what": f"mark: {name}", **_means(marks)})
    for column in zip(*(report.attacks for report in reports), strict=True):
        pairs = list(zip(reports, column, strict=True))
        rows.append(
            {
                "what": str(column[0].attack),
                **_means([one.similarity for one in column]),
                "distance": round(mean(one.distance for one in column), 4),
                "mask_agrees": _agreeing(column),
                "better_than_painted": sum(
                    one.similarity.ssim > report.marks["painted"].ssim
                    and one.similarity.psnr > report.marks["painted"].psnr
                    for report, one in pairs
                ),
                "pictures": len(pairs),
                "seconds": round(mean(one.seconds for one in column), 1),
            }
        )
    return rows


def _means(found: Sequence[Similarity]) -> dict[str, float]:
    return {
        "psnr": round(mean(one.psnr for one in found), 2),
        "ssim": round(mean(one.ssim for one in found), 3),
    }


def _agreeing(column: Sequence[AttackFound]) -> float | None:
    known = [one.mask_agrees for one in column if one.mask_agrees is not None]
    return round(mean(known), 3) if known else None


def main(
    backbone: Annotated[str, typer.Option(help="Of the model.")] = TINY,
    size: Annotated[int, typer.Option(help="Of what the step sees, pixels.")] = 32,
    pictures: Annotated[int, typer.Option(help="That the model learns from.")] = 200,
    epochs: Annotated[int, typer.Option(help="Of its base step.")] = 5,
    iterations: Annotated[int, typer.Option(help="Of each attack.")] = 100,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Where pictures go; default: nowhere.")] = None,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Measure what gradients give away, and write it down."""
    torch.set_num_threads(threads)
    load = machine_load()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        draw(scratch / "drawn", pictures, 20, 64, seed)
        directory = learned(scratch / "drawn", scratch, backbone, size, epochs, seed)
        version = load_version(directory)
        version.model.view = None  # a model's own would hold against the job's size
        chosen = subjects(scratch / "drawn", version.catalogue, size)
        place = out or scratch / "made"
        job = LeakageJob(version=directory, size=size, iterations=iterations, seed=seed, out=place)
        reports = attacked(version.model, chosen, job, tuple(Attack))
        rows = summed(reports)
        for row in rows:
            typer.echo(", ".join(f"{key} {value}" for key, value in row.items()))
        miou = version.scores.miou_all
    asked = {"backbone": backbone, "size": size, "pictures": pictures, "epochs": epochs}
    asked |= {"iterations": iterations, "seed": seed, "threads": threads}
    words = " ".join(f"--{name} {value}" for name, value in asked.items())
    record = stamped(
        "cpu",
        command=f"python -m benchmarks.gradient_leakage {words}",
        machine_load=load,
        learned_miou=miou,
        note=LeakageReport.model_fields["note"].default,
        summary=rows,
        pictures=[one.model_dump(mode="json", exclude={"note"}) for one in reports],
    )
    write_record(results, "gradient_leakage.json", record)


if __name__ == "__main__":
    typer.run(main)
