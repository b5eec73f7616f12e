from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sats_core.data.readers import open_reader, write_voc_zip
from sats_core.data.sources import DirectorySource, ZipSource
from sats_core.settings import Limits
from tests.fixtures.shared import shared

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("name", "pictures", "classes", "val"), [("voc8", 2700, 20, 445), ("ccp", 1004, 58, 200)]
)
def test_every_picture_is_read(name: str, pictures: int, classes: int, val: int) -> None:
    with DirectorySource(shared("data", name), Limits()) as source:
        reader = open_reader(source)
        assert (len(reader.ids), len(reader.classes), reader.unpaired) == (pictures, classes, ())
        assert len(reader.splits["val"]) == val
        assert not set(reader.splits["val"]) & set(reader.splits["train"])
        shown: Counter[str] = Counter()
        for picture_id in reader.ids:
            item = reader.read(picture_id)
            assert max(item.label.shape) == 256
            shown.update(reader.shown(item.label))
    assert set(shown) <= set(reader.classes)
    well_filled = {"voc8": ("person", "dog", "cat", "horse"), "ccp": ("skin", "hair", "shoes")}[
        name
    ]
    assert all(shown[c] > 100 for c in well_filled), shown


def test_a_zip_of_real_pictures_reads_back_the_same(tmp_path: Path) -> None:
    with DirectorySource(shared("data", "voc8"), Limits()) as source:
        reader = open_reader(source)
        chosen = reader.splits["val"][:40]
        items = [reader.encoded(i) for i in chosen]
        write_voc_zip(tmp_path / "held_out.zip", items, reader.classes)
        with ZipSource(tmp_path / "held_out.zip", Limits()) as zipped:
            again = open_reader(zipped)
            assert again.classes == reader.classes
            for picture_id in chosen:
                one, two = reader.read(picture_id), again.read(picture_id)
                np.testing.assert_array_equal(one.picture, two.picture)
                np.testing.assert_array_equal(one.label, two.label)
