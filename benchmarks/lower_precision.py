"""What 8-bit integers are worth on a processor: agreement with float32, loss of IoU, time of a run.

    python -m benchmarks.lower_precision VERSION DATA --pictures 150

VERSION is a version's directory, DATA a folder in a layout that tasks have. Its graph is made anew,
as the service runs it, and quantised by ONNX Runtime (static, QDQ, a scale for each channel of the
weights, calibrated on pictures of the split `val` that are not scored). Masks at the pictures' own
size are compared, at the version's size and at 256 pixels. Prints what is found and puts it into
`lower_precision.json` of `--results`, where every data set has its place.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import typer
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from app.inference.exported_graph import Graph, ModelInput
from app.inference.logits_graph import logits_graph
from app.inference.sessions import INPUT, Floats
from benchmarks.machine import commit, hardware
from benchmarks.serving_version import make_version
from sats_core.data.labels import step_lookup
from sats_core.data.prediction import best_channels
from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import DirectorySource
from sats_core.data.transforms import Pixels, evaluation_view
from sats_core.evaluation.confusion import ConfusionMatrix
from sats_core.export import CONFIG, GRAPH, load_version
from sats_core.settings import Limits

LARGE, CALIBRATED = 256, 24
"""Pixels of the longer side beside the version's own; pictures that scales are found on."""
CONST = {"MatMulConstBOnly": True}
"""Products of two activations, the attention's, stay as they are."""
VARIANTS: dict[str, dict[str, Any]] = {
    "convolutions": {"op_types_to_quantize": ["Conv"]},
    "linear layers": {"op_types_to_quantize": ["MatMul"], "extra_options": CONST},
    "both": {"op_types_to_quantize": ["Conv", "MatMul"], "extra_options": CONST},
    "both, head float32": {"op_types_to_quantize": ["Conv", "MatMul"], "extra_options": CONST},
    "everything": {},
}
METHODS = {"min-max": CalibrationMethod.MinMax, "entropy": CalibrationMethod.Entropy}
METHODS["percentile"] = CalibrationMethod.Percentile
Row = dict[str, Any]
Answers = tuple[list[Pixels], list[float | None]]
Seen = tuple[ModelInput, Pixels]
"""What the model sees, and the label at the picture's own size."""


class Shown(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Hands pictures to the calibration, which takes them in one shape only."""

    def __init__(self, pictures: Sequence[Seen]) -> None:
        self._left = iter([view.pixels for view, _ in pictures])
        self._side = max(max(view.pixels.shape) for view, _ in pictures)

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next picture; None at the end."""
        pixels = next(self._left, None)
        if pixels is None:
            return None
        rows, columns = (self._side - length for length in pixels.shape[1:])
        return {INPUT: np.pad(pixels, ((0, 0), (0, rows), (0, columns)))[None]}


def seen(graph: Graph, reader: Reader, size: int, most: int) -> Iterator[Seen]:
    """Yield pictures of the split `val` in an order drawn by chance, always the same."""
    classes = graph.catalogue
    truth = step_lookup(
        reader.classes, {name: classes.channel(name) for name in classes.foreground}
    )
    ids = np.random.default_rng(0).permutation(sorted(reader.splits["val"]))
    view = graph.view_of(size)
    for picture_id in ids[:most].tolist():
        found = reader.read(picture_id)
        shown = evaluation_view(found.picture, view)
        yield graph.normalised(shown, view), truth[found.label]


def quantise(graph: Path, out: Path, variant: str, method: str, shown: Sequence[Seen]) -> None:
    """Write a graph with 8-bit activations and weights."""
    nodes = onnx.load(graph).graph.node
    head = [node.name for node in nodes if not node.name.startswith("/backbone")]
    how = {
        "activation_type": QuantType.QUInt8,  # the processor multiplies unsigned by signed
        "per_channel": True,
        "calibrate_method": METHODS[method],
        "nodes_to_exclude": head if "head" in variant else [],
        **VARIANTS[variant],
    }
    quantize_static(graph, out, Shown(shown), **how)


def answers(graph: Graph, pictures: Sequence[Seen]) -> Answers:
    """Return the channels of every picture at its own size, and the IoU of every class."""
    masks, matrix = [], ConfusionMatrix(len(graph.catalogue))
    for view, label in pictures:
        (prediction,) = graph.run([view])
        masks.append(best_channels(prediction, label.shape[0], label.shape[1]))
        matrix.add(label, masks[-1])
    return masks, matrix.iou()


def milliseconds(pair: Sequence[Graph], view: ModelInput, times: int) -> list[float]:
    """Return the median processor time of a run of each, on one thread, taken in turns."""
    took: list[list[float]] = [[] for _ in pair]
    for _ in range(times + 1):
        for graph, each in zip(pair, took, strict=True):
            began = time.thread_time()
            graph.run([view])
            each.append(1000 * (time.thread_time() - began))
    return [round(statistics.median(each[1:]), 2) for each in took]  # the first sets up the rest


def compared(whole: Answers, other: Answers) -> Row:
    """Return the share of pixels that agree and the largest loss of IoU of a class."""
    equal = [first == second for first, second in zip(whole[0], other[0], strict=True)]
    pairs = zip(whole[1], other[1], strict=True)
    lost = [a - b for a, b in pairs if a is not None and b is not None]
    agreement = np.concatenate(equal, axis=None).mean()
    return {"agreement": round(float(agreement), 5), "iou_lost": round(max(lost), 4)}


def measure(directory: Path, reader: Reader, most: int, times: int) -> list[Row]:
    """Quantise a version in every way and compare."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = load_version(directory).config
        make_version(folder / "made", weights["backbone"], weights["size"], directory)
        config, graph = folder / "made" / CONFIG, folder / "made" / GRAPH
        whole = Graph(config, graph, window=LARGE)
        sizes = (whole.config.size, LARGE)
        shown = {size: list(seen(whole, reader, size, most + CALIBRATED)) for size in sizes}
        calibrating = shown[sizes[0]][:CALIBRATED]
        scored = {size: pictures[CALIBRATED:] for size, pictures in shown.items()}
        expected = {size: answers(whole, pictures) for size, pictures in scored.items()}
        onnx.save(logits_graph(graph), folder / "logits.onnx")
        quant_pre_process(folder / "logits.onnx", folder / "ready.onnx", skip_symbolic_shape=True)
        for variant, method in product(VARIANTS, METHODS):
            out = folder / "int8.onnx"
            quantise(folder / "ready.onnx", out, variant, method, calibrating)
            int8 = Graph(config, out, window=LARGE)
            for size, pictures in scored.items():
                before, after = milliseconds((whole, int8), pictures[0][0], times)
                row = {"int8": variant, "calibration": method, "size": size}
                row |= compared(expected[size], answers(int8, pictures))
                row |= {"float32_ms": before, "int8_ms": after, "faster": round(before / after, 2)}
                rows.append(row)
    return rows


def main(
    version: Annotated[Path, typer.Argument(help="A version's directory.")],
    data: Annotated[Path, typer.Argument(help="Folder of labelled pictures.")],
    most: Annotated[int, typer.Option("--pictures", help="Most pictures.")] = 150,
    times: Annotated[int, typer.Option(help="Runs that are timed.")] = 30,
    results: Annotated[Path, typer.Option(help="Where the record goes.")] = Path("docs/results"),
) -> None:
    """Compare 8-bit graphs with the one that is served, on pictures that were held out."""
    with closing(DirectorySource(data, Limits())) as source:
        rows = measure(version, open_reader(source), most, times)
    for row in rows:
        typer.echo(", ".join(f"{name} {value}" for name, value in row.items()))
    command = f"python -m benchmarks.lower_precision VERSION DATA --pictures {most}"
    record = {"command": command, "commit": commit(), "hardware": hardware("cpu"), "rows": rows}
    path = results / "lower_precision.json"
    records = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**records, data.name: record}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    typer.run(main)
