"""What every reader of labelled pictures gives, whatever the layout it reads."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError
from typing import ClassVar
from xml.parsers.expat import ExpatError

import ijson
import numpy as np
from numpy.typing import NDArray

from sats_core.classes import IGNORE
from sats_core.data.bands import value_counts
from sats_core.data.names import printable
from sats_core.data.pictures import decode_picture, decode_resized
from sats_core.data.sources import Source
from sats_core.errors import DatasetError, Issue, PictureError, PictureTooLargeError

Pixels = NDArray[np.uint8]
UNREADABLE = (PictureError, ijson.JSONError, JSONDecodeError, ExpatError, UnicodeDecodeError)
"""What says that a file cannot be parsed or decoded at all."""
MAX_REASON = 500
"""Characters of what an error says of a file, some of which strangers wrote."""


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and what it shows.

    Attributes:
        id: the picture's name inside its data set, without folder and suffix.
        picture: (H, W, 3) uint8 RGB.
        label: (H, W) uint8; 0 background, 1..n the reader's classes in order, 255 ignore.
    """

    id: str
    picture: Pixels
    label: Pixels


@dataclass(frozen=True)
class EncodedPicture:
    """A labelled picture whose picture is still encoded.

    Attributes:
        id: as in `LabelledPicture`.
        suffix: of the picture's file, `.jpg`.
        data: the picture file's bytes.
        label: as in `LabelledPicture`.
    """

    id: str
    suffix: str
    data: bytes
    label: Pixels


class Reader(ABC):
    """Labelled pictures of one data set, read one at a time; holds names, never pixels.

    Making a reader checks the data set's structure and decodes no picture; `read` checks a picture.

    Raises:
        DatasetError: the structure is wrong; the message names the first thing at fault.
    """

    layout: ClassVar[str]
    """What a data set of this layout looks like, one sentence."""

    classes: tuple[str, ...]
    """Foreground classes in the order of the class list; label value is position + 1."""
    ids: tuple[str, ...]
    """Every picture that has a mask, sorted."""
    splits: Mapping[str, tuple[str, ...]]
    """Named parts of `ids`; a part without any picture is left out."""
    unpaired: tuple[str, ...]
    """Files of pictures without a mask and of masks without a picture, sorted."""
    missing: dict[str, tuple[str, ...]]
    """What a split names beside its pictures: no picture with a mask."""
    warnings: list[str]
    """What of the data set is not read, a sentence each."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.missing = {}
        self.warnings = []

    @classmethod
    @abstractmethod
    def recognises(cls, source: Source) -> bool:
        """Return whether a data set is meant to be in this layout, by names and a look at the start
        of files."""

    @classmethod
    def glance(cls, source: Source) -> tuple[str, ...] | None:
        """Check what is cheap to check of a data set in this layout, and return its classes.

        Returns None where only reading whole annotation files would tell them.

        Raises:
            DatasetError: the structure is wrong.
        """
        return cls(source).classes

    @abstractmethod
    def picture_file(self, picture_id: str) -> str:
        """Return the name of a picture's file in the source.

        Raises:
            KeyError: `picture_id` is not one of `ids`.
        """

    @abstractmethod
    def mask_file(self, picture_id: str) -> str:
        """Return the name of the file that holds a picture's label.

        Raises:
            KeyError: `picture_id` is not one of `ids`.
        """

    @abstractmethod
    def label(self, picture_id: str) -> Pixels:
        """Return a picture's label alone, as in `LabelledPicture`.

        Raises:
            DatasetError: the mask cannot be read or holds something the class list does not know.
        """

    def picture(self, picture_id: str) -> Pixels:
        """Return a picture alone, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: the picture cannot be read.
        """
        limits = self.source.limits
        with self._at_fault(picture_id) as data:
            return decode_picture(data, limits.max_pixels, limits.decoded_bytes)

    def read(self, picture_id: str) -> LabelledPicture:
        """Return a picture with its label, both checked.

        Raises:
            DatasetError: either cannot be read, or their sizes differ.
        """
        picture, label = self.picture(picture_id), self.label(picture_id)
        self._check_sizes(picture_id, picture.shape[:2], label)
        return LabelledPicture(picture_id, picture, label)

    def read_small(self, picture_id: str, side: int) -> LabelledPicture:
        """Return a picture with its label as `read` does, the picture alone made smaller.

        Its own pixels are gone before the label is read: whole, the two take half a GiB.

        Args:
            picture_id: one of `ids`.
            side: pixels that the picture's longer side has at most.

        Raises:
            DatasetError: as `read`.
        """
        limits = self.source.limits
        with self._at_fault(picture_id) as data:
            size = partial(_within, side)
            small = decode_resized(
                data, limits.max_pixels, size, decoded_bytes=limits.decoded_bytes
            )
        label = self.label(picture_id)
        self._check_sizes(picture_id, (small.height, small.width), label)
        return LabelledPicture(picture_id, small.pixels, label)

    def encoded(self, picture_id: str) -> EncodedPicture:
        """Return a picture's bytes as they are, with its label.

        Raises:
            DatasetError: either cannot be read.
        """
        file = self.picture_file(picture_id)
        suffix = file[file.rindex(".") :]
        return EncodedPicture(picture_id, suffix, self.source.read(file), self.label(picture_id))

    def shown(self, label: Pixels) -> tuple[str, ...]:
        """Return the names of the classes that a label holds."""
        values = np.flatnonzero(value_counts(label))
        return tuple(self.classes[v - 1] for v in values if 0 < v < IGNORE)

    @contextmanager
    def _at_fault(self, picture_id: str) -> Iterator[bytes]:
        """Yield a picture's bytes; what is wrong with them is told of its file."""
        file = self.picture_file(picture_id)
        try:
            yield self.source.read(file)
        except PictureError as error:
            raise at_fault(str(error), file, code=code_of(error)) from error

    def _check_sizes(self, picture_id: str, size: tuple[int, ...], label: Pixels) -> None:
        if size != label.shape:
            raise at_fault(
                f"the mask has {_size(label.shape)} pixels, "
                f"its picture {self.picture_file(picture_id)} has {_size(size)}",
                self.mask_file(picture_id),
            )


def at_fault(
    reason: str, file: str, class_name: str | None = None, code: str = "invalid"
) -> DatasetError:
    """Return the error that blames one file; what it quotes is cut and made printable."""
    reason, file = printable(reason[:MAX_REASON]), printable(file)
    class_name = None if class_name is None else printable(class_name[:MAX_REASON])
    return DatasetError(f"{file}: {reason}", [Issue(reason, file, class_name, code)])


def missing_at(message: str, file: str) -> DatasetError:
    """Return the error that something is not there which a file, or its place, asks for."""
    message = printable(message[:MAX_REASON])
    return DatasetError(message, [Issue(message, file=printable(file), code="missing")])


def no_class_list(*files: str) -> DatasetError:
    """Return the error that none of the files is there that could list the classes."""
    return missing_at(f"no class list: {' or '.join(files)} is missing", files[0])


def code_of(error: Exception) -> str:
    """Return the word for what a parser or decoder raised; see `Issue.code`."""
    if isinstance(error, PictureTooLargeError):
        return "too_large"
    return "unreadable" if isinstance(error, UNREADABLE) else "invalid"


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _within(side: int, height: int, width: int) -> tuple[int, int]:
    """Return the height and width of a picture whose longer side has at most so many pixels."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))
