"""`config.json` of a SegFormer checkpoint from strangers, read under strict bounds; torch-free."""

import re
import reprlib
from typing import Any

from sats_core.classes import MAX_CLASSES
from sats_core.data.names import is_readable_name, printable
from sats_core.errors import ModelError
from sats_core.limits import MAX_HEAD_WIDTH
from sats_core.record import Record
from sats_core.segformer.processor import Processor, read_processor
from sats_core.segformer.strict_json import read_object
from sats_core.segformer.variants import DEPTHS, SHARED, SMALL, hidden_sizes, variant_of

FILE = "config.json"
MAX_BYTES = 2**20
MAX_NAME = 200
BACKGROUND = "background"
NO_BACKGROUND = "none"
SEGMENTATION = "SegformerForSemanticSegmentation"
ENCODERS = ("SegformerModel", "SegformerForImageClassification")
DECODER_WIDTH = 256
"""`decoder_hidden_size` where the file says nothing, as the library has it."""
OUTER = " \t\r\n"
"""Stripped from both ends of a label: NVIDIA's checkpoints of ADE20K have a class "bed "."""


class ClassOrder(Record):
    """The classes of a checkpoint in our order.

    Attributes:
        background: row of the classifier that becomes channel 0; None: there is none, and channel
            0 gets a row that never wins.
        foreground: names of channels 1, 2, ...
        rows: of the classifier, for channels 1, 2, ...
    """

    background: int | None
    foreground: tuple[str, ...]
    rows: tuple[int, ...]


class Encoder(Record):
    """What a config says of its encoder.

    Attributes:
        backbone: `mit_b0` ... `mit_b5`.
        architecture: the model's class, as the file names it.
        transformers: version of the library that wrote it.
        labelled: whether the checkpoint has a decode head with classes.
        head_width: of the decode head.
    """

    backbone: str
    architecture: str
    transformers: str | None
    labelled: bool
    head_width: int


class Checkpoint(Record):
    """A checkpoint that segments.

    Attributes:
        encoder: its encoder and origin.
        labels: names by row of the classifier, without white space around them.
        processor: how pictures are shown to it.
    """

    encoder: Encoder
    labels: tuple[str, ...]
    processor: Processor

    def class_order(self, background: str | None) -> ClassOrder:
        """Return the classes in our order: background first, the others as they stand.

        Args:
            background: a label's name; "none" for no background; None takes label 0 where it is
                called "background", and no background otherwise.

        Raises:
            ModelError: no such label; or one called "background" would be left in the foreground;
                or more classes than a mask holds.
        """
        row = self._background(background)
        rows = tuple(i for i in range(len(self.labels)) if i != row)
        foreground = tuple(self.labels[i] for i in rows)
        for name in foreground:
            if _is_background(name):
                raise ModelError(
                    f"{FILE}: id2label has the class {name!r}, which is the name of what belongs "
                    f"to no class: choose it as the background, or give it another name"
                )
        if not foreground:
            raise ModelError(f"{FILE}: id2label names no class beside the background")
        if len(foreground) > MAX_CLASSES:
            raise ModelError(
                f"{FILE}: id2label has {len(foreground)} classes beside the background; a mask "
                f"holds at most {MAX_CLASSES}"
            )
        return ClassOrder(background=row, foreground=foreground, rows=rows)

    def _background(self, chosen: str | None) -> int | None:
        if chosen is None:
            return 0 if _is_background(self.labels[0]) else None
        if chosen == NO_BACKGROUND:
            return None
        name = chosen.strip(OUTER)
        if name in self.labels:
            return self.labels.index(name)
        known = ", ".join(self.labels[:20]) + (", ..." if len(self.labels) > 20 else "")
        raise ModelError(
            f"the checkpoint has no class {printable(chosen[:MAX_NAME])!r} to be the background; "
            f"it has: {known}"
        )


def read_checkpoint(config: bytes, preprocessor: bytes | None) -> Checkpoint:
    """Read what a segmentation checkpoint says of itself.

    Args:
        config: `config.json`.
        preprocessor: `preprocessor_config.json`; None where there is none.

    Raises:
        ModelError: something is missing, out of bounds, or not what can be run here; the message
            names the key and its value.
    """
    said = read_object(config, FILE, MAX_BYTES)
    encoder = _encoder(said)
    if not encoder.labelled:
        raise ModelError(
            f"{FILE}: architectures is {encoder.architecture!r}: this is an encoder without a "
            "decode head; it segments nothing yet, but a base step can start from it: name it as "
            "the step's backbone"
        )
    labels = _labels(said)
    if preprocessor is None:
        raise ModelError(
            "preprocessor_config.json is missing: without it nobody knows at what size the model "
            "sees pictures"
        )
    return Checkpoint(encoder=encoder, labels=labels, processor=read_processor(preprocessor))


def read_encoder(config: bytes) -> Encoder:
    """Read what a checkpoint, with or without a decode head, says of its encoder.

    Raises:
        ModelError: as `read_checkpoint`.
    """
    return _encoder(read_object(config, FILE, MAX_BYTES))


def _encoder(said: dict[str, Any]) -> Encoder:
    if said.get("model_type") != "segformer":
        raise _fault("model_type", said.get("model_type"), "only segformer can be read")
    for key, only in SHARED.items():
        if _plain(said.get(key, only)) != only:
            raise _fault(key, said[key], f"must be {_shown(only)}")
    depths = _plain(said.get("depths", DEPTHS["mit_b0"]))
    sizes = _plain(said.get("hidden_sizes", SMALL))
    backbone = variant_of(depths, sizes)
    if backbone is None:
        known = "; ".join(f"{n}: {list(d)} and {list(hidden_sizes(n))}" for n, d in DEPTHS.items())
        raise _fault("depths and hidden_sizes", (depths, sizes), f"must be one of {known}")
    width = said.get("decoder_hidden_size", DECODER_WIDTH)
    if type(width) is not int or not 1 <= width <= MAX_HEAD_WIDTH:
        raise _fault("decoder_hidden_size", width, f"must be 1 to {MAX_HEAD_WIDTH}")
    architecture = _architecture(said)
    version = said.get("transformers_version")
    known_version = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version)
    return Encoder(
        backbone=backbone,
        architecture=architecture,
        transformers=version if known_version else None,
        labelled=architecture == SEGMENTATION,
        head_width=width,
    )


def _architecture(said: dict[str, Any]) -> str:
    named = said.get("architectures")
    if isinstance(named, list) and len(named) == 1 and named[0] in (SEGMENTATION, *ENCODERS):
        return str(named[0])
    raise _fault("architectures", named, f"must be one of {', '.join((SEGMENTATION, *ENCODERS))}")


def _labels(said: dict[str, Any]) -> tuple[str, ...]:
    """Return names by row; ids must run from 0 without a gap."""
    table = said.get("id2label")
    if not isinstance(table, dict) or not table:
        raise _fault("id2label", table, "must name every class by its id")
    if len(table) > MAX_CLASSES + 1:
        raise ModelError(
            f"{FILE}: id2label has {len(table)} classes; a mask holds at most {MAX_CLASSES} beside "
            "the background"
        )
    names: list[str] = []
    for row in range(len(table)):
        if str(row) not in table:
            raise ModelError(f"{FILE}: id2label has {len(table)} entries and none for id {row}")
        name = table[str(row)]
        if not isinstance(name, str):
            raise _fault(f"id2label[{row}]", name, "must be a string")
        name = name.strip(OUTER)
        unreadable = not 0 < len(name) <= MAX_NAME or not is_readable_name(name)
        if unreadable or name.strip() != name:
            raise _fault(
                f"id2label[{row}]",
                name,
                f"must have 1 to {MAX_NAME} printable characters, no space of another kind around",
            )
        if name in names:
            raise _fault(f"id2label[{row}]", name, f"is the name of id {names.index(name)} too")
        names.append(name)
    return tuple(names)


def _is_background(name: str) -> bool:
    return name.lower() == BACKGROUND


def _plain(value: Any) -> Any:
    """Return a list of integers as a tuple, anything else as it is; true is no integer."""
    if isinstance(value, list) and len(value) <= 8 and all(type(part) is int for part in value):
        return tuple(value)
    return value if type(value) in (int, str, bool, tuple) else None


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _fault(key: str, value: object, reason: str) -> ModelError:
    return ModelError(f"{FILE}: {key} is {reprlib.repr(value)}: {reason}")
