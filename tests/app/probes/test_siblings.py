"""Processes behind one port tell each other what they have counted."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.probes import siblings
from app.probes.siblings import Siblings, SiblingsCollector, packed


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sats-") as made:  # the path of a socket has to be short
        yield Path(made)


@contextmanager
def opened(folder: Path, name: str, told: bytes) -> Iterator[Siblings]:
    one = Siblings(folder, lambda: told, name)
    one.open()
    try:
        yield one
    finally:
        one.close()


def counted(pictures: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("pictures", "Pictures.", ["model"], registry=registry).labels("cat").inc(pictures)
    return registry


def test_each_hears_of_all_others(folder: Path) -> None:
    long = b"b" * 1_000_000
    with opened(folder, "1", b"a") as one, opened(folder, "2", long) as two:
        assert list(one.others()) == [long]
        assert list(two.others()) == [b"a"]
        with opened(folder, "3", b"c"):
            assert list(one.others()) == [long, b"c"]
        assert list(one.others()) == [long]
    assert list(folder.iterdir()) == []


def test_what_a_lost_process_leaves_is_removed(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as lost:
        lost.bind(str(folder / "9"))
        lost.listen()
    with opened(folder, "1", b"a") as one:
        assert list(one.others()) == []
    assert list(folder.iterdir()) == []


def test_one_that_is_silent_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "WAIT_SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as silent, opened(folder, "1", b"a") as one:
        silent.bind(str(folder / "9"))
        silent.listen()
        assert list(one.others()) == []
        assert (folder / "9").exists()  # it may find its voice again


def test_a_folder_that_was_tidied_away_leaves_a_process_its_own_figures(folder: Path) -> None:
    away = folder / "away"
    away.mkdir()
    with opened(away, "1", b"a") as one:
        (away / "1").unlink()
        away.rmdir()
        assert list(one.others()) == []


def test_one_whose_figures_fail_tells_again_later(folder: Path) -> None:
    told = iter([ZeroDivisionError, b"a"])

    def figures() -> bytes:
        found = next(told)
        if isinstance(found, bytes):
            return found
        raise found

    failing = Siblings(folder, figures, "1")
    failing.open()
    with opened(folder, "2", b"b") as other:
        assert list(other.others()) == []
        assert list(other.others()) == [b"a"]
    failing.close()


def test_a_family_is_told_once_with_the_samples_of_all(folder: Path) -> None:
    with opened(folder, "1", b"") as one, opened(folder, "2", packed([counted(3)], "2")):
        registry = CollectorRegistry()
        registry.register(SiblingsCollector([counted(2)], one))
        text = generate_latest(registry).decode()
    assert text.count("# TYPE pictures_total counter") == 1
    (family,) = (f for f in text_string_to_metric_families(text) if f.name == "pictures")
    assert sorted(sample.value for sample in family.samples) == [2, 3]
    assert {sample.labels["model"] for sample in family.samples} == {"cat"}
    assert len({sample.labels["process"] for sample in family.samples}) == 2
