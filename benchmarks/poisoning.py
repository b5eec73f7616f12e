"""Data sets made to hurt one chosen old class, or of useless labels, and what comes of them.

    python -m benchmarks.drawn_pictures runs/drawn
    python -m benchmarks.learning runs/drawn --protocol drawn-6-1 --preset drawn-most
    python -m benchmarks.poisoning runs/drawn BASE --out docs/results/poisoning.json

BASE is the folder of the base version. After the task-targeted attack on continual learners
(arXiv 2211.15875): the new class is to look good, and one old class to be lost. Every method learns
one step from each data set; the target class is scored on clean pictures, the gate is the service's
own function with its default limits, fed as the service feeds it: new classes are scored on a
fifth of what was posted, old ones on the pictures that were kept. Beside the attacks there are
uploads that nobody meant ill by: masks that do not fit their pictures, or cover them. Results are
written as they come, and a command that was cut off goes on.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from app.registry.gate import GateSettings, Verdict, judge
from benchmarks.machine import stamped
from benchmarks.poisoned_pictures import ATTACKS, Attack, write_upload
from sats_core.data.cache import PictureCache
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import DirectorySource, ZipSource
from sats_core.evaluation.held_out import HeldOut, score
from sats_core.evaluation.scores import Scores
from sats_core.export import load_version
from sats_core.files import write_whole
from sats_core.job import HeldOutChoice, StepJob
from sats_core.label_report import LabelReport
from sats_core.settings import Limits, StepSettings
from sats_core.training.checkpoint import fingerprint_of
from sats_core.training.labels import examine_labels
from sats_core.training.learn import learn
from sats_core.training.pictures import gather
from sats_core.training.start import begin

METHODS = ("finetune", "sats", "sats_plus", "frozen")


@dataclass(frozen=True)
class Bench:
    """What all runs share.

    Attributes:
        reader: of the clean pictures.
        base: folder of the base version.
        old: its foreground classes.
        target: the old class that is to be lost.
        new: the class that the step brings.
        kept: ids of the pictures that score old classes.
        clean: ids of pictures that score the new class, labelled as they should be.
        epochs: of a step.
        seed: of all that is random.
    """

    reader: Reader
    base: Path
    old: tuple[str, ...]
    target: str
    new: str
    kept: tuple[str, ...]
    clean: tuple[str, ...]
    epochs: int
    seed: int

    @property
    def earlier(self) -> HeldOut:
        """The pictures that the service would have kept."""
        return HeldOut(self.reader, self.kept, self.old)


def run(bench: Bench, dataset: Path, method: str, parent: Scores, work: Path) -> dict[str, Any]:
    """Take one step and return what came of it."""
    job = _job(bench, dataset, method, work)
    start = begin(job)
    began = time.monotonic()
    with (
        ZipSource(dataset, job.limits) as source,
        PictureCache(work / "pictures.raw", start.settings.size) as cache,
        PictureCache(work / "memory.raw", start.settings.size) as replayed,
    ):
        reader = open_reader(source)
        gathered = gather(reader, job, start.catalogue, cache, _silent, _never)
        labels = examine_labels(
            start, (bench.new,), gathered, cache, [bench.earlier], _silent, _never
        )
        learn(start, cache, replayed, work, fingerprint_of(job), _silent, _never)
        own = HeldOut(reader, gathered.held_out, (bench.new,))
        size, introduced = start.settings.size, start.old.scores.introduced if start.old else {}
        sets = [own, bench.earlier]
        scores = score(start.model, size, start.catalogue, introduced, sets, _nothing).scores
    true_new = HeldOut(bench.reader, bench.clean, (bench.new,))
    truth = score(start.model, size, start.catalogue, introduced, [true_new], _nothing).scores
    verdict = judge(GateSettings(), scores, parent, (bench.new,), live_moved=False)
    seconds = time.monotonic() - began
    return _record(bench, method, scores, truth, parent, verdict, labels, seconds)


def _record(
    bench: Bench,
    method: str,
    scores: Scores,
    truth: Scores,
    parent: Scores,
    verdict: Verdict,
    labels: LabelReport,
    seconds: float,
) -> dict[str, Any]:
    others = [name for name in bench.old if name != bench.target]
    return {
        "method": method,
        "target_before": parent.iou[bench.target],
        "target_after": scores.iou[bench.target],
        "other_old_before": _mean(parent, others),
        "other_old_after": _mean(scores, others),
        "new_as_posted": scores.iou[bench.new],
        "new_on_clean": truth.iou[bench.new],
        "gate_passed": verdict.passed,
        "gate_reasons": list(verdict.reasons),
        "warnings": [warning.model_dump() for warning in labels.warnings],
        "labels": [one.model_dump() for one in labels.classes],
        "seconds": round(seconds, 1),
    }


def _job(bench: Bench, dataset: Path, method: str, work: Path) -> StepJob:
    settings = StepSettings.model_validate(
        {"method": method, "epochs": bench.epochs, "batch_size": 8, "seed": bench.seed}
    )
    return StepJob(
        dataset=dataset,
        old_version=bench.base,
        new_classes=(bench.new,),
        indices=(len(bench.old) + 1,),
        settings=settings,
        held_out=HeldOutChoice(),
        earlier=(),
        limits=Limits(),
        backbone_dir=None,
        threads=torch.get_num_threads(),
        work=work,
        result=work,
    )


def _mean(scores: Scores, names: Sequence[str]) -> float:
    known = [iou for name in names if (iou := scores.iou[name]) is not None]
    return sum(known) / len(known)


def _silent(_event: object) -> None:
    return None


def _nothing() -> None:
    return None


def _never() -> bool:
    return False


def _runs(found: dict[str, Any]) -> Iterator[tuple[Attack, str]]:
    """Yield what is not measured yet."""
    done = {(one["attack"], one["method"]) for one in found["runs"]}
    for attack in ATTACKS:
        for method in METHODS:
            if (attack.name, method) not in done:
                yield attack, method


def main(
    data: Annotated[Path, typer.Argument(help="Folder of drawn pictures.")],
    base: Annotated[Path, typer.Argument(help="Folder of the base version.")],
    out: Annotated[Path, typer.Option(help="Where the result goes.")],
    target: Annotated[str, typer.Option(help="The old class to be lost.")] = "mushroom",
    new: Annotated[str, typer.Option(help="The class that the step brings.")] = "cup",
    pictures: Annotated[int, typer.Option(help="Of the upload.")] = 60,
    scored: Annotated[int, typer.Option(help="Clean pictures that score.")] = 80,
    epochs: Annotated[int, typer.Option(help="Of a step.")] = 10,
    seed: Annotated[int, typer.Option(help="Of all that is random.")] = 0,
) -> None:
    """Run every attack against every method and write what came of it."""
    version = load_version(base)
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(DirectorySource(data, Limits())) as source,
    ):
        reader = open_reader(source)
        bench = Bench(
            reader=reader,
            base=base,
            old=version.catalogue.foreground,
            target=target,
            new=new,
            kept=reader.splits["val"][:scored],
            clean=_showing(reader, reader.splits["val"][scored:], new, scored // 2),
            epochs=epochs,
            seed=seed,
        )
        asked = {"target": target, "new": new, "pictures": pictures, "scored": scored}
        asked |= {"epochs": epochs, "seed": seed}
        command = "python -m benchmarks.poisoning DATA BASE " + " ".join(
            f"--{name} {value}" for name, value in asked.items()
        )
        found: dict[str, Any] = {"command": command, **stamped("cpu", runs=[])}
        code = found.pop("commit")  # of each run: a later command may go on with other code
        if out.exists():
            found["runs"] = json.loads(out.read_text())["runs"]
        size = int(version.config["size"])
        parent = score(version.model, size, version.catalogue, {}, [bench.earlier], _nothing).scores
        uploads: dict[str, Path] = {}
        for attack, method in _runs(found):
            if attack.name not in uploads:
                uploads[attack.name] = Path(folder, f"{attack.name}.zip")
                write_upload(
                    uploads[attack.name], bench.reader, version, attack, target, new, pictures, seed
                )
            work = Path(folder, f"{attack.name}-{method}")
            work.mkdir()
            record = run(bench, uploads[attack.name], method, parent, work)
            found["runs"].append({"attack": attack.name, "commit": code, **record})
            write_whole(out, (json.dumps(found, indent=1) + "\n").encode())
            typer.echo(
                f"{attack.name} {method}: target {record['target_after']:.3f}, "
                f"new {record['new_on_clean']:.3f}, passed {record['gate_passed']}"
            )


def _showing(reader: Reader, ids: Sequence[str], name: str, most: int) -> tuple[str, ...]:
    shows = (one for one in ids if name in reader.shown(reader.label(one)))
    return tuple(one for one, _ in zip(shows, range(most), strict=False))


if __name__ == "__main__":
    typer.run(main)
