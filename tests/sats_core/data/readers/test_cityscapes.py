import numpy as np
import pytest

from sats_core.data.readers import CityscapesReader, open_reader
from sats_core.data.readers.cityscapes import NAMES
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import encode, index_mask, write_zip
from tests.sats_core.data.readers.contract import PICTURES, ReaderContract

PLACES = {"one": "train", "sub/three": "train", "two": "val", "alone": "train"}
IDS = {
    "one": np.tile(np.array([0, 7, 26, 3], dtype=np.uint8), (6, 2)),
    "two": np.full((5, 7), 33, dtype=np.uint8),
    "sub/three": np.full((1, 9), 7, dtype=np.uint8),
}
"""As the masks hold them: unlabeled, road, car and out of roi; bicycle; road."""

SEEN = {
    "one": np.tile(np.array([255, 1, 20, 255], dtype=np.uint8), (6, 2)),
    "two": np.full((5, 7), 27, dtype=np.uint8),
    "sub/three": np.full((1, 9), 1, dtype=np.uint8),
}


class TestCityscapes(ReaderContract):
    """A city is a folder inside the split."""

    kind = CityscapesReader
    classes = NAMES
    labels = SEEN
    shown = ("road", "car")

    def files(self) -> dict[str, bytes]:
        files = {}
        for name, picture in PICTURES.items():
            files[f"leftImg8bit/{PLACES[name]}/{name}_leftImg8bit.png"] = encode(picture)
        for name, ids in IDS.items():
            start = f"gtFine/{PLACES[name]}/{name}_gtFine_"
            files[f"{start}labelIds.png"] = index_mask(ids)
            files[f"{start}instanceIds.png"] = b"not looked at"
            files[f"{start}color.png"] = b"not looked at"
            files[f"{start}polygons.json"] = b'{"imgHeight": 6, "imgWidth": 8, "objects": []}'
        return files

    def test_without_a_class_list(self) -> None:  # type: ignore[override]
        """There is none: the table of label ids is Cityscapes' own."""


def test_an_enclosing_folder_and_the_official_names(tmp_path) -> None:
    files = {f"cityscapes/{name}": data for name, data in TestCityscapes().files().items()}
    with ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source:
        reader = open_reader(source)
    assert reader.ids == ("one", "sub/three", "two")
    assert [reader.classes[place] for place in (0, 17, 26)] == ["road", "person", "bicycle"]


def test_an_id_beyond_the_table_is_named(tmp_path) -> None:
    files = TestCityscapes().files()
    files["gtFine/val/two_gtFine_labelIds.png"] = index_mask(np.full((5, 7), 34))
    with (
        ZipSource(write_zip(tmp_path / "a.zip", files), Limits()) as source,
        pytest.raises(DatasetError, match="index 34 is not in the class list"),
    ):
        open_reader(source).label("two")
