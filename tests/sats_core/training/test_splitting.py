"""Which pictures are held out, by what the data set and the task say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sats_core.data.readers import Reader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.job import HeldOutChoice
from sats_core.settings import Limits
from sats_core.training.splitting import Split, choose_split
from tests.sats_core.data.drawn import write_zip


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A data set with splits as CVAT calls them, and one of its owner's own."""
    files = {f"JPEGImages/{name}.jpg": b"" for name in "abcd"} | {"classes.txt": b"1 cat"}
    files |= {f"SegmentationClass/{name}.png": b"" for name in "abcd"}
    for split, listed in {"Train": b"a\nb", "Validation": b"c", "Exam": b"d"}.items():
        files[f"ImageSets/Segmentation/{split}.txt"] = listed
    with ZipSource(write_zip(tmp_path / "set.zip", files), Limits()) as source:
        yield open_reader(source)


@pytest.mark.parametrize("said", [None, "val", "Validation", "valid"])
def test_a_split_is_held_out_by_any_of_its_names(reader: Reader, said: str | None) -> None:
    assert choose_split(reader, HeldOutChoice(split=said), 0) == Split(("a", "b"), ("c",))


def test_a_split_of_another_name_is_called_as_it_is_written(reader: Reader) -> None:
    assert choose_split(reader, HeldOutChoice(split="Exam"), 0) == Split(("a", "b"), ("d",))
    for absent in ("exam", "Testing"):
        with pytest.raises(DatasetError, match=r"it has: Exam, train, val"):
            choose_split(reader, HeldOutChoice(split=absent), 0)
