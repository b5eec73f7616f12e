"""The contestants answer alike, and a tiny run measures real ones: that it works, not how fast."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer

from benchmarks.processes import NotStartedError, running
from benchmarks.serving import first_mask, main
from benchmarks.serving_contestants import (
    KEYED,
    LIMIT,
    OURS,
    PLAIN,
    TORCH,
    Contestant,
    install,
    others,
    ours,
    workers_name,
)
from benchmarks.serving_limit import Loop, setups
from benchmarks.serving_operations import STARTS
from benchmarks.serving_pipeline import Setup, answer, load_graph, see
from benchmarks.serving_version import make_version, write_pictures
from tests.app.inference.colour_graph import write_version
from tests.fixtures.drawings import encoded
from tests.fixtures.missing import missing

SIZE = 64


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported version with drawn weights."""
    directory = tmp_path_factory.mktemp("exported") / "version"
    make_version(directory, "mit_b0", SIZE)
    return directory


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), SIZE)


def all_contestants(version: Path, folder: Path) -> list[Contestant]:
    return [
        ours(install(folder / "keyless", version, keyed=False)),
        ours(install(folder / "keyed", version, keyed=True), KEYED),
        *others(version, Setup(1, 1)),
    ]


@pytest.mark.parametrize("number", range(6))
def test_every_contestant_answers_the_same_mask(
    number: int, version: Path, pictures: list[Path], tmp_path: Path
) -> None:
    contestant = all_contestants(version, tmp_path)[number]
    picture = pictures[0].read_bytes()
    graph = load_graph(version, 1)
    seen = see(graph, picture)
    (found,) = graph.run([seen.view])
    expected = graph.segmented(found, SIZE, SIZE).mask
    try:
        with contestant.started(tmp_path / "log") as server:
            same = (first_mask(server, contestant, picture) == expected).mean()
            assert server.cpu_seconds() > 0
            assert server.pss_mib() > 10
            here = [psutil.Process(one.pid) for one in server.processes()]
    except NotStartedError as error:
        if not str(error).endswith("is not installed"):
            raise
        pytest.skip(str(error))
    assert same == 1.0 if contestant.name != TORCH else same >= 0.99
    assert not any(one.is_running() for one in here), "nothing is left of it"


def test_a_tiny_run_of_ours_and_plain_fastapi(tmp_path: Path) -> None:
    found = _run(tmp_path, clients=[4], only=[OURS, PLAIN], beside=False)
    assert {turn["contestant"] for turn in found["turns"]} == {LIMIT, OURS, PLAIN}
    assert all(t["answered"] and t["cpu_ms"] and t["pss_mib"] for t in found["turns"])
    assert not any(turn.get("lost") for turn in found["turns"])
    assert found["agreement"] == {OURS: 1.0, PLAIN: 1.0}
    text = (tmp_path / "serving.md").read_text()
    assert "mit_b0, 64 px (random weights)" in text
    assert "### 4 clients" in text


def test_rounds_are_added_and_what_the_service_does_beside_is_kept(tmp_path: Path) -> None:
    found = _run(tmp_path, clients=[16], only=[PLAIN])
    assert found["operations"]["promotion"]["failed"] == 0
    assert found["operations"]["promotion"]["versions_seen"] == ["1", "2"]
    assert found["operations"]["overload"]["other_than_503"] == 0
    assert len(found["operations"]["starts"]["each"]) == STARTS
    added = _run(tmp_path, clients=[1], only=[PLAIN], beside=False, add=True)
    assert added["turns"][: len(found["turns"])] == found["turns"]
    assert {turn["round"] for turn in added["turns"]} == {0, 1}
    assert added["operations"] == found["operations"]


def test_to_rounds_of_another_commit_none_are_added(tmp_path: Path) -> None:
    record = {"machine": {"commit": "0123456789ab"}, "sets": {}}
    kept = json.dumps(record)
    (tmp_path / "serving.json").write_text(kept)
    with pytest.raises(typer.BadParameter, match="rounds of commit 0123456789ab"):
        _run(tmp_path, only=[PLAIN], beside=False, add=True)
    assert (tmp_path / "serving.json").read_text() == kept


def test_weights_are_of_one_backbone(version: Path, tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="run once for each"):
        main(backbone=["mit_b0", "pvt_v2_b0"], weights=version, out=tmp_path)
    with pytest.raises(ValueError, match="has mit_b0, not pvt_v2_b0"):
        make_version(tmp_path / "version", "pvt_v2_b0", SIZE, version)


def _run(out: Path, **chosen: Any) -> Any:
    """Measure for a moment; return what was written of the only set."""
    main(
        size=[SIZE], backbone=["mit_b0"], seconds=1.0, rounds=1, setup=["1x1x1"], out=out, **chosen
    )
    (found,) = json.loads((out / "serving.json").read_text())["sets"].values()
    return found


def test_who_does_not_start_says_why(tmp_path: Path) -> None:
    command = ["python", "-c", "raise SystemExit('no such thing')"]
    with (
        pytest.raises(NotStartedError, match="no such thing"),
        running(command, {}, 1, "/", tmp_path / "log"),
    ):
        missing("it started")
    gone = Contestant("gone", lambda _: ["true"], {}, needs="no_such_package")
    with (
        pytest.raises(NotStartedError, match="no_such_package is not installed"),
        gone.started(tmp_path / "log"),
    ):
        missing("it started")


def test_ours_with_several_processes_is_a_contestant_of_its_own(
    version: Path, tmp_path: Path
) -> None:
    contestant = ours(install(tmp_path / "data", version, keyed=False), workers_name(2), workers=2)
    assert contestant.name == "ours, 2 API processes"
    assert contestant.command(8000)[-1] == "--workers=2"


@pytest.mark.parametrize("setup", [Setup(1, 1), Setup(2, 1, 4)])
def test_the_limit_answers_everybody_in_the_queue(
    setup: Setup, pictures: list[Path], tmp_path: Path
) -> None:
    write_version(tmp_path, size=SIZE)
    data = [path.read_bytes() for path in pictures]
    report = Loop(tmp_path, data, setup, clients=5).run(seconds=0.3, warm_up=0.1)
    assert len(report.took) == len(report.began) >= 5
    assert sum(began < 0.3 for began in report.began) == len(report.began)
    last = sorted(b + t for b, t in zip(report.began, report.took, strict=True))[-5:]
    assert min(last) >= 0.3, "whoever waited at the end was answered"
    assert {*report.status} == {200}
    assert report.cpu_seconds > 0


def test_a_batch_answers_as_its_pictures_alone(pictures: list[Path], tmp_path: Path) -> None:
    write_version(tmp_path, size=SIZE)
    graph = load_graph(tmp_path, 1)
    data = [path.read_bytes() for path in pictures[:3]]
    assert answer(graph, data) == [answer(graph, [one])[0] for one in data]
    wide = encoded(see(graph, data[0]).view.pixels.transpose(1, 2, 0)[:32].astype("uint8"))
    assert len(answer(graph, [data[0], wide])) == 2, "of another shape"


def test_a_setup_is_read_as_it_is_written() -> None:
    assert all(Setup.read(str(one)) == one for one in setups(2))
    assert Setup(2, 1, 1) in setups(2)
    assert Setup(1, 4, 4) in setups(4)
