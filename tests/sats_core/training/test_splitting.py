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


def split_of(path: Path, splits: dict[str, str], said: str | None = None) -> Split:
    """Choose from a data set of pictures a to h whose splits are spelled out."""
    files = {f"JPEGImages/{name}.jpg": b"" for name in "abcdefgh"} | {"classes.txt": b"1 cat"}
    files |= {f"SegmentationClass/{name}.png": b"" for name in "abcdefgh"}
    for split, listed in splits.items():
        files[f"ImageSets/Segmentation/{split}.txt"] = "\n".join(listed).encode()
    with ZipSource(write_zip(path / "set.zip", files), Limits()) as source:
        return choose_split(open_reader(source), HeldOutChoice(split=said), 0)


@pytest.mark.parametrize(
    "splits",
    [
        {"Test": "gh"},
        {"Train": "abcdef", "Test": "gh"},
        {"Validation": "abc", "Test": "gh"},
        {"Train": "abcg", "Validation": "def", "Test": "gh"},
    ],
)
def test_a_test_split_is_never_trained_on_and_said_to_be_unused(
    splits: dict[str, str], tmp_path: Path
) -> None:
    split = split_of(tmp_path, splits)
    assert sorted((*split.train, *split.held_out)) == list("abcdef")
    assert split.unused == ("g", "h")
    (warning,) = split.warnings
    assert warning.startswith("2 pictures of the split 'test' left unused")


def test_a_test_split_that_is_asked_for_is_held_out(tmp_path: Path) -> None:
    split = split_of(tmp_path, {"Test": "gh"}, "Test")
    assert split == Split(tuple("abcdef"), ("g", "h"))
    assert not split.warnings


def test_pictures_that_are_all_called_test_are_pictures(tmp_path: Path) -> None:
    split = split_of(tmp_path, {"Test": "abcdefgh"})
    assert sorted((*split.train, *split.held_out)) == list("abcdefgh")
    assert not split.warnings


def test_a_test_split_that_leaves_nothing_to_train_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"0 pictures to train on .*4 of the split 'test'"):
        split_of(tmp_path, {"Validation": "abcd", "Test": "efgh"})
