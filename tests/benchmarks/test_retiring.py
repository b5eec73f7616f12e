"""The benchmark of retirements, at a size that measures nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import retiring
from tests.fixtures.backbones import TINY
from tests.fixtures.drawings import voc_zip


def run(closed: float | None, lost: float = 0.0) -> dict[str, Any]:
    return {"piggyback": {"gap_closed": closed}, "miou_lost": lost}


@pytest.mark.parametrize(
    ("data", "closed", "lost", "holds"),
    [
        ("drawn", 0.81, 0.02, True),
        ("drawn", 0.79, 0.0, False),
        ("voc8", 0.51, 0.0, True),
        ("voc8", 0.51, 0.03, False),
        ("drawn", None, 0.0, False),
    ],
)
def test_the_bars(data: str, closed: float | None, lost: float, holds: bool) -> None:
    hidden = {"variant": "hide", **run(0.0)}
    found = retiring.bars(data, [hidden, {"variant": "unlearn", **run(closed, lost)}])
    assert all(found.values()) == holds


def test_the_results_say_which_bars_hold() -> None:
    written = json.loads((Path(__file__).parents[2] / "docs/results/retiring.json").read_text())
    for place, record in written.items():
        assert record["bars"] == retiring.bars(place.split(",")[0], record["runs"])
        assert record["commit"]


@pytest.mark.slow
def test_a_class_is_learned_and_taken_away(tmp_path: Path) -> None:
    import zipfile

    data = voc_zip(
        tmp_path / "d.zip", ["disc", "bar", "cone"], 24, 48, splits={"train": 22, "val": 2}
    )
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "drawn")
    asked: dict[str, Any] = {
        **{"backbone": TINY, "size": 32, "pictures": 16, "posted": 6, "epochs": 1, "unlearning": 1},
        **{"memory": 8, "seed": 0, "threads": 1, "variants": "hide;unlearn"},
        **{"out": tmp_path / "runs", "results": tmp_path / "results"},
    }
    retiring.main(tmp_path / "drawn", "disc,bar", "bar", **asked)
    (record,) = json.loads((tmp_path / "results/retiring.json").read_text()).values()
    assert [one["variant"] for one in record["runs"]] == ["hide", "unlearn"]
    assert [one["pictures"] for one in record["runs"]] == ["none", "posted"]
    assert str(tmp_path) not in json.dumps(record)
    # The same command again finds everything done.
    retiring.main(tmp_path / "drawn", "disc,bar", "bar", **asked)
