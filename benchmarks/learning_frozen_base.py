"""The row that every method must beat: the base version, its new classes never predicted."""

import json
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning_data import Bench
from benchmarks.learning_plan import Sequence
from benchmarks.machine import commit, hardware
from sats_core.data.labels import step_lookup
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.evaluation.predict import predict
from sats_core.export import load_version


def score_frozen_base(run: Sequence, bench: Bench) -> None:
    """Write a `step.json` for every later step: what the base version would score after it."""
    last = run.folder / f"step{run.last_step}" / "step.json"
    if last.exists():
        return
    base = run.base.folder / "step0"
    began = time.monotonic()
    counts = _counted(bench, base / "version")
    born = json.loads((base / "step.json").read_text())["iou"]
    for number in range(1, run.last_step + 1):
        known = [name for step in bench.steps[: number + 1] for name in step]
        names = ("background", *known)
        iou = dict(zip(names, collapsed(counts, len(names)).iou(), strict=True))
        new = {name: iou[name] for step in bench.steps[1 : number + 1] for name in step}
        record = {
            "step": number,
            "classes": list(bench.steps[number]),
            "iou": iou,
            "introduced": {n: v for n, v in born.items() if n != "background"} | new,
            "trained_pictures": 0,
            "replayed_pictures": 0,
            "seconds": 0.0,
            "seconds_with_scoring": time.monotonic() - began,
            "peak_mib": 0.0,
            "teacher": None,
            "settings": {"method": "frozen_base", "fusion": False, "epochs": 0},
            "commit": commit(),
            "hardware": hardware("cpu"),
            "threads": 1,
        }
        _write(run, number, record)


def _counted(bench: Bench, version: Any) -> NDArray[np.int64]:
    loaded = load_version(version)
    loaded.model.eval()
    classes = bench.classes
    truth = step_lookup(bench.reader.classes, {name: i for i, name in enumerate(classes, start=1)})
    matrix = ConfusionMatrix(len(classes) + 1)
    for picture_id in bench.validation:
        picture = bench.reader.read(picture_id)
        answer = predict(loaded.model, picture.picture, loaded.config["size"])
        matrix.add(truth[picture.label], answer)
    return matrix.counts


def collapsed(counts: NDArray[np.int64], channels: int) -> ConfusionMatrix:
    """Count later classes as background: what nobody knows of yet."""
    places = np.arange(len(counts))
    places[channels:] = 0
    matrix = ConfusionMatrix(channels)
    np.add.at(matrix.counts, (places[:, None], places[None]), counts)
    return matrix


def _write(run: Sequence, number: int, record: dict[str, Any]) -> None:
    folder = run.folder / f"step{number}"
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "step.json.partial"
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(folder / "step.json")
