"""8-bit graphs are made, compared with the one that is served, and written down."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import lower_precision
from benchmarks.lower_precision import LARGE, compared, main
from benchmarks.serving_version import NAMES, make_version
from tests.fixtures.drawings import voc_zip


def test_the_largest_loss_of_a_class_counts() -> None:
    masks = np.zeros((4, 5), dtype=np.uint8)
    other = masks.copy()
    other[0, 0] = 1
    found = compared(([masks], [0.9, 0.5, None]), ([other], [0.8, 0.7, 0.2]))
    assert found == {"agreement": 0.95, "iou_lost": 0.1}


def test_every_way_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower_precision, "CALIBRATED", 2)
    way = "both, head float32"
    monkeypatch.setattr(lower_precision, "VARIANTS", {way: lower_precision.VARIANTS[way]})
    method = {"percentile": lower_precision.METHODS["percentile"]}
    monkeypatch.setattr(lower_precision, "METHODS", method)
    with zipfile.ZipFile(voc_zip(tmp_path / "drawn.zip", NAMES, 4, splits={"val": 4})) as archive:
        archive.extractall(tmp_path / "drawn")
    make_version(tmp_path / "version", "mit_b0", 32)
    main(tmp_path / "version", tmp_path / "drawn", 2, 1, tmp_path)
    rows = json.loads((tmp_path / "lower_precision.json").read_text())["drawn"]["rows"]
    assert [(row["int8"], row["calibration"], row["size"]) for row in rows] == [
        (way, "percentile", 32),
        (way, "percentile", LARGE),
    ]
    assert all(0 <= row["agreement"] <= 1 and row["faster"] > 0 for row in rows)
    # Drawn weights tell classes apart by little: 8 bits name others here and there.
    assert min(row["agreement"] for row in rows) < 1
