"""Names that strangers choose: what would be shown as something else is not taken in."""

import json
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from app.registry.schemas import Named, PostedName
from app.uploads.datasets import dataset_classes, posted_classes, task_classes
from app.uploads.opening import opened
from sats_core.data.names import is_allowed_name, is_readable_name, name_fault, printable
from sats_core.data.readers import EncodedPicture, open_reader, write_voc_zip
from sats_core.data.sources import ZipSource
from sats_core.errors import DatasetError
from sats_core.settings import Limits
from tests.sats_core.data.drawn import write_zip

MARKS = "\u061c\u200e\u200f"
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
LINES = "\u2028\u2029"
UNSEEN = "\u00ad\u200b\u2060\u2061\u2064\u206a\u206f\ufeff"
CONTROL = "\0\x0b\x1b\x7f\x85"
WHY = "turn the direction"
KEPT = "cat \u732b \u0642\u0637\u0629 \u05d7\u05ea\u05d5\u05dc e\u0301 a\u200db\u200cc \U0001f408"
LIMITS = Limits()
POSTED, STORED = TypeAdapter(PostedName), TypeAdapter(Named)


@pytest.mark.parametrize("odd", [*TURNING, *LINES, *UNSEEN, *CONTROL])
def test_what_turns_breaks_a_line_or_is_not_seen_is_in_no_new_name(odd):
    wrong = f"gnp{odd}.cat"
    assert printable(wrong) == "gnp?.cat"
    assert not is_allowed_name(wrong)
    with pytest.raises(ValidationError):
        POSTED.validate_python(wrong)


@pytest.mark.parametrize("odd", [*TURNING, *LINES, *UNSEEN])
def test_what_an_older_version_stored_is_read(odd):
    former = f"gnp{odd}.cat"
    assert is_readable_name(former)
    assert name_fault(former) is None
    assert STORED.validate_python(former) == former


@pytest.mark.parametrize("odd", CONTROL)
def test_control_characters_are_never_read(odd):
    assert name_fault(f"gnp{odd}.cat") is not None


@pytest.mark.parametrize("kept", [KEPT, *(f"{mark}cat" for mark in MARKS)])
def test_every_script_is_a_name(kept):
    assert printable(kept) == kept
    assert is_allowed_name(kept)
    assert name_fault(kept) is None
    assert POSTED.validate_python(kept) == kept


def test_the_rule_is_the_same_everywhere():
    for code in (*range(0xD800), *range(0xE000, 0x10000)):
        character = chr(code)
        refused = not is_allowed_name(character)
        assert refused == (printable(character) != character)
        category = unicodedata.category(character)
        unseen = character in UNSEEN or 0x2060 <= code <= 0x206F
        assert refused == (category in ("Cc", "Zl", "Zp") or character in TURNING or unseen)
    with pytest.raises(ValidationError):
        POSTED.validate_json(json.dumps("a\ud800"))


def labelled(path: Path, picture: str, class_name: str) -> Path:
    """Write a zip as held-out pictures are kept, of one picture of one class."""
    buffer = BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "PNG")
    label = np.ones((32, 32), dtype=np.uint8)
    encoded = EncodedPicture(picture, ".png", buffer.getvalue(), label)
    write_voc_zip(path, [encoded], [class_name])
    return path


@pytest.mark.parametrize(
    ("picture", "class_name"),
    [
        ("\u200eWhatsApp Image", "\u200f\u05d7\u05ea\u05d5\u05dc"),
        ("gnp\u202e.a", "cat"),
        ("a", "tac\u202e"),
        ("a\u2028b", "c\u2066at\u2069"),
        ("a\u00adb", "\ufeffcat\u200b"),
    ],
)
def test_pictures_that_were_stored_are_read(tmp_path, picture, class_name):
    path = labelled(tmp_path / "kept.zip", picture, class_name)
    with ZipSource(path, LIMITS) as source:
        reader = open_reader(source)
        assert reader.classes == (class_name,)
        assert reader.read(picture).picture.shape == (32, 32, 3)
    assert dataset_classes(path, LIMITS) == task_classes(path, LIMITS) == (class_name,)


@pytest.mark.parametrize(
    ("picture", "class_name"),
    [("gnp\u202e.a", "cat"), ("a", "tac\u202e"), ("a\u2028b", "cat"), ("a", "cat\u200b")],
)
def test_they_are_not_taken_in_anew(tmp_path, picture, class_name):
    path = labelled(tmp_path / "posted.zip", picture, class_name)
    with pytest.raises(DatasetError, match=WHY) as posted:
        posted_classes(path, LIMITS)
    with pytest.raises(DatasetError, match=WHY), opened(path, LIMITS):
        pass
    for issue in posted.value.issues:
        named = issue.file or issue.class_name or ""
        assert "?" in named
        assert printable(named) == named


def test_marks_of_hebrew_and_arabic_are_taken_in(tmp_path):
    path = labelled(
        tmp_path / "posted.zip", "\u200eWhatsApp Image", "\u200f\u05d7\u05ea\u05d5\u05dc"
    )
    assert posted_classes(path, LIMITS) == ("\u200f\u05d7\u05ea\u05d5\u05dc",)


def test_classes_that_only_the_worker_reads_are_judged_there(tmp_path):
    buffer = BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    document = {
        "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "tac\u202e"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 8, 0, 8, 6]]}
        ],
    }
    files = {"a.json": json.dumps(document).encode(), "a.png": buffer.getvalue()}
    path = write_zip(tmp_path / "coco.zip", files)
    assert posted_classes(path, LIMITS) is None
    with pytest.raises(DatasetError, match=rf"tac\?.*{WHY}"):
        task_classes(path, LIMITS)
