import pytest

from sats_core.data.readers import Ade20kReader, open_reader
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import encode, index_mask, write_zip
from tests.sats_core.data.readers.contract import LABELS, PICTURES, ReaderContract

HEAD = "Idx\tRatio\tTrain\tVal\tStuff\tName\n"
PLACES = {"one": "training", "sub/three": "training", "two": "validation", "alone": "validation"}


class TestAde20k(ReaderContract):
    kind = Ade20kReader

    def files(self) -> dict[str, bytes]:
        rows = "1\t0.1\t2\t3\t1\tcat, feline\n2\t0.2\t2\t3\t0\tdog;hound\n"
        files = {f"images/{PLACES[i]}/{i}.png": encode(p) for i, p in PICTURES.items()}
        files |= {f"annotations/{PLACES[i]}/{i}.png": index_mask(x) for i, x in LABELS.items()}
        return files | {self.class_file(): (HEAD + rows).encode()}

    def class_file(self) -> str:
        return "objectInfo150.txt"


def classes_of(path, rows: str) -> tuple[str, ...]:
    files = TestAde20k().files() | {"objectInfo150.txt": (HEAD + rows).encode()}
    with ZipSource(write_zip(path / "a.zip", files), Limits()) as source:
        return open_reader(source).classes


def test_a_first_name_that_two_classes_share_is_not_enough(tmp_path) -> None:
    rows = "1\t0\t0\t0\t0\tscreen;crt\n2\t0\t0\t0\t0\tscreen;silver\n3\t0\t0\t0\t0\tcar, auto\n"
    assert classes_of(tmp_path, rows) == ("screen;crt", "screen;silver", "car")


def test_a_list_of_something_else_is_named(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"objectInfo150.txt: 'no table'"):
        classes_of(tmp_path, "no table\n")
