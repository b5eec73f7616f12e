import json
from pathlib import Path

from benchmarks import storage
from tests.fixtures.missing import missing
from tests.fixtures.servers import MissingServerError


def test_blobs_go_and_come_beside_the_library_alone(tmp_path: Path) -> None:
    try:
        storage.main(["--mib", "0.01", "9", "--rounds", "2", "--results", str(tmp_path)])
    except MissingServerError as error:
        missing(str(error))
    told = json.loads((tmp_path / "scale.json").read_text())["storage"]
    assert [one["bytes"] for one in told["sizes"]] == [10486, 9437184]
    assert [one["blobs_a_round"] for one in told["sizes"]] == [16, 1]
    for one in told["sizes"]:
        for way in ("put", "get"):
            speeds = one[way]["bytes_a_second"]
            assert [len(speeds[name]) for name in ("service", "library")] == [2, 2]
            assert len(one[way]["quotients"]) == 2
            assert one[way]["quotient"] > 0
    assert told["held"] in (True, False)
