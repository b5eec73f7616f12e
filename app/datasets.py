"""What can be known of a posted data set without decoding a picture."""

from pathlib import Path

from sats_core.data.readers import glance, open_reader
from sats_core.data.sources import ZipSource
from sats_core.settings import Limits


def dataset_classes(path: Path, limits: Limits) -> tuple[str, ...]:
    """Check the structure of a zip, decoding no picture, and return the classes it labels.

    Raises:
        DatasetError: what is wrong with it.
    """
    with ZipSource(path, limits) as source:
        return open_reader(source).classes


def posted_classes(path: Path, limits: Limits) -> tuple[str, ...] | None:
    """Check a zip when it is posted, in less time than it took to come.

    Returns the classes it labels; None where only reading large files whole tells them, which the
    worker does.

    Raises:
        DatasetError: what is wrong with it.
    """
    with ZipSource(path, limits) as source:
        return glance(source)
