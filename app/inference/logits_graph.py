"""What of an exported graph is run, and its form."""

import hashlib
import math
from pathlib import Path

import onnx
from onnx.utils import Extractor

from app.inference.sessions import INPUT, LOGITS

FORM = 16
"""Characters of a digest of a graph's form."""


def logits_graph(graph: Path) -> onnx.ModelProto:
    """Return a graph without what it makes of its logits: labels and scores of every pixel it sees.

    They are made at the picture's own size instead. Left in the graph they are computed whether
    they are asked for or not: a quarter of a run at 256 pixels.
    """
    return Extractor(onnx.load(graph)).extract_model([INPUT], [LOGITS])


def form_of(model: onnx.ModelProto) -> str:
    """Return a digest of a graph's operators, their settings and the shapes of its weights.

    How many classes it knows is left out, as far as shapes say so: a version that learned one more
    is no slower.
    """
    graph = model.graph
    classes = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    last = _of_the_classifier(graph, classes)
    digest = hashlib.sha256()
    for node in graph.node:
        settings = {a.name: (a.i, a.f, a.s, *a.ints) for a in node.attribute if not a.HasField("t")}
        digest.update(repr((node.op_type, sorted(settings.items()))).encode())
    for weights in graph.initializer:
        shape = list(weights.dims)
        if weights.name in last and classes in shape:
            shape = [math.prod(shape) // classes]  # of each class
        digest.update(repr((weights.data_type, shape)).encode())
    return digest.hexdigest()[:FORM]


def _of_the_classifier(graph: onnx.GraphProto, classes: int) -> set[str]:
    """Return the names of the weights that make features classes: the last matrix, and its bias.

    Elsewhere as many channels as there are classes, or a kernel as wide, are chance.
    """
    shapes = {weights.name: tuple(weights.dims) for weights in graph.initializer}
    found: set[str] = set()
    for node in reversed(graph.node):
        read = {name for name in node.input if name in shapes}
        found |= read
        if any(len(shapes[name]) > 1 and classes in shapes[name] for name in read):
            break
    return found
