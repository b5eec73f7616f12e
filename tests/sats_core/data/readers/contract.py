"""What every reader must hold. A layout's test class inherits `ReaderContract` and packs the set.

The set: pictures `one`, `two` and `sub/three` with masks, a picture `alone` without a mask;
classes cat and dog; splits train (one, sub/three) and val (two).
"""

import threading
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sats_core.data.readers import Reader, glance, open_reader
from sats_core.data.sources import DirectorySource, Source, ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.fixtures.examples import examples
from tests.sats_core.data.drawn import colour_picture, write_directory, write_zip

Pixels = NDArray[np.uint8]
LABELS: dict[str, Pixels] = {
    "one": np.tile(np.array([0, 1, 2, 255], dtype=np.uint8), (6, 2)),
    "two": np.full((5, 7), 2, dtype=np.uint8),
    "sub/three": np.zeros((1, 9), dtype=np.uint8),
}
PICTURES = {
    "one": colour_picture(8, 6, 1),
    "two": colour_picture(7, 5, 2),
    "sub/three": colour_picture(9, 1, 3),
    "alone": colour_picture(3, 3, 4),
}


class ReaderContract:
    kind: type[Reader]
    classes: tuple[str, ...] = ("cat", "dog")
    labels: dict[str, Pixels] = LABELS
    shown: tuple[str, ...] = ("cat", "dog")

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return the files of the set in this layout."""

    @abstractmethod
    def class_file(self) -> str:
        """Return the file that names the classes."""

    @pytest.fixture(params=["zip", "directory"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
        with self._packed(request.param, tmp_path, self.files()) as source:
            yield source

    def test_the_layout_is_recognised(self, source: Source) -> None:
        assert type(open_reader(source)) is self.kind

    def test_a_glance_tells_the_classes_or_leaves_them_open(self, source: Source) -> None:
        assert glance(source) in (None, self.classes)

    def test_classes_ids_splits_and_the_unpaired(self, source: Source) -> None:
        reader = open_reader(source)
        assert reader.classes == self.classes
        assert reader.ids == ("one", "sub/three", "two")
        assert reader.splits == {"train": ("one", "sub/three"), "val": ("two",)}
        assert [Path(name).stem.partition("_")[0] for name in reader.unpaired] == ["alone"]

    def test_pictures_and_labels(self, source: Source) -> None:
        reader = open_reader(source)
        for picture_id, label in self.labels.items():
            item = reader.read(picture_id)
            assert item.id == picture_id
            assert item.picture.dtype == item.label.dtype == np.uint8
            np.testing.assert_array_equal(item.picture, np.array(PICTURES[picture_id]))
            np.testing.assert_array_equal(item.label, label)
            np.testing.assert_array_equal(reader.label(picture_id), label)
        assert reader.shown(self.labels["one"]) == self.shown
        assert reader.shown(np.zeros((1, 9), np.uint8)) == ()

    def test_small_pictures_have_their_whole_labels(self, source: Source) -> None:
        reader = open_reader(source)
        for picture_id, label in self.labels.items():
            item = reader.read_small(picture_id, 4)
            height, width = label.shape
            assert item.picture.shape == (max(1, round(4 / max(label.shape) * height)), 4, 3)
            assert abs(item.picture.mean() - np.array(PICTURES[picture_id]).mean()) < 40
            np.testing.assert_array_equal(item.label, label)
            whole = reader.read_small(picture_id, width)
            np.testing.assert_array_equal(whole.picture, np.array(PICTURES[picture_id]))

    def test_encoded_pictures_are_the_files_bytes(self, source: Source) -> None:
        reader = open_reader(source)
        item = reader.encoded("one")
        assert item.data == source.read(reader.picture_file("one"))
        assert reader.picture_file("one").endswith(item.suffix)
        np.testing.assert_array_equal(item.label, self.labels["one"])

    def test_an_id_that_is_not_there(self, source: Source) -> None:
        with pytest.raises(KeyError):
            open_reader(source).read("alone")

    def test_threads_may_share_a_reader(self, source: Source) -> None:
        reader = open_reader(source)
        wrong: list[str] = []

        def compare() -> None:
            for picture_id, label in list(self.labels.items()) * examples(20):
                if not np.array_equal(reader.read(picture_id).label, label):
                    wrong.append(picture_id)

        threads = [threading.Thread(target=compare) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_opening_decodes_no_picture(self, tmp_path: Path) -> None:
        with self._packed("zip", tmp_path, self.files()) as source:
            file = open_reader(source).picture_file("one")
        with self._packed("zip", tmp_path, self.files() | {file: b"no picture"}) as source:
            reader = open_reader(source)
            with pytest.raises(DatasetError, match=file) as caught:
                reader.read("one")
            assert caught.value.issues[0].file == file
            assert caught.value.issues[0].code == "unreadable"
            assert reader.read("two").id == "two"

    def test_a_broken_mask_is_named(self, tmp_path: Path) -> None:
        with self._packed("zip", tmp_path, self.files()) as source:
            file = open_reader(source).mask_file("one")
            broken = self.files() | {file: source.read(file)[:40]}
        with self._packed("zip", tmp_path, broken) as source:
            with pytest.raises(DatasetError) as caught:
                open_reader(source).read("one")
            assert caught.value.issues[0].file == file

    def test_sizes_that_differ_are_named(self, tmp_path: Path) -> None:
        with self._packed("zip", tmp_path, self.files()) as source:
            reader = open_reader(source)
            file = reader.mask_file("one")
            swapped = self.files() | {reader.picture_file("one"): self._bytes(reader, "two")}
        with self._packed("zip", tmp_path, swapped) as source:
            with pytest.raises(DatasetError, match=r"8 x 6 .* 7 x 5") as caught:
                open_reader(source).read("one")
            assert caught.value.issues[0].file == file

    def test_a_picture_over_the_limit_is_named(self, tmp_path: Path) -> None:
        limits = Limits(max_pixels=36)
        with self._packed("zip", tmp_path, self.files(), limits) as source:
            reader = open_reader(source)
            assert reader.read("two").id == "two"
            with pytest.raises(DatasetError, match="more than 36 pixels") as caught:
                reader.read("one")
            assert caught.value.issues[0].code == "too_large"

    def test_without_a_class_list(self, tmp_path: Path) -> None:
        files = self.files()
        del files[self.class_file()]
        self.refusal(tmp_path, files, "class")

    def test_without_any_pair(self, tmp_path: Path) -> None:
        with self._packed("zip", tmp_path, self.files()) as source:
            reader = open_reader(source)
            pictures = [reader.picture_file(i) for i in reader.ids]
            masks = [reader.mask_file(i) for i in reader.ids]
        for missing in (pictures, masks):
            files = {n: d for n, d in self.files().items() if n not in missing}
            refusal = self.refusal(tmp_path, files, r"no files in|no picture has")
            assert refusal.issues[0].file

    def refusal(self, tmp_path: Path, files: dict[str, bytes], match: str) -> DatasetError:
        """Return why no reader takes these files."""
        with (
            self._packed("zip", tmp_path, files) as source,
            pytest.raises(DatasetError, match=match) as caught,
        ):
            open_reader(source)
        return caught.value

    @staticmethod
    def _bytes(reader: Reader, picture_id: str) -> bytes:
        return reader.source.read(reader.picture_file(picture_id))

    @staticmethod
    def _packed(
        kind: str, path: Path, files: dict[str, bytes], limits: Limits | None = None
    ) -> Source:
        limits = limits or Limits()
        if kind == "zip":
            return ZipSource(write_zip(path / "set.zip", files), limits)
        return DirectorySource(write_directory(path / "set", files), limits)


class JsonContract(ReaderContract):
    """Of a layout whose annotations are JSON files that the pictures stand beside."""

    def test_without_any_pair(self, tmp_path: Path) -> None:
        files = {n: d for n, d in self.files().items() if n.endswith(".json")}
        self.refusal(tmp_path, files, "no picture has an")
