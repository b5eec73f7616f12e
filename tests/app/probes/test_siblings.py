"""Processes behind one port tell each other what they have counted."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.probes import siblings
from app.probes.siblings import Siblings, SiblingsCollector, packed


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="sats-") as made:  # the path of a socket has to be short
        yield Path(made)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no busy machine decide who has told."""
    monkeypatch.setattr(siblings, "WAIT_SECONDS", 60.0)


@contextmanager
def silent(folder: Path, name: str) -> Iterator[socket.socket]:
    """Listen, and tell nothing."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / name))
        one.listen()
        yield one


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


def test_those_that_are_silent_are_left_out_and_waited_for_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siblings, "WAIT_SECONDS", 0.3)
    with ExitStack() as stack:
        for number in range(20):
            stack.enter_context(silent(folder, f"9{number}"))
        one = stack.enter_context(opened(folder, "1", b"a"))
        began = time.monotonic()
        assert list(one.others()) == []
        assert time.monotonic() - began < 10 * 0.3
        assert (folder / "90").exists()  # it may find its voice again


def test_one_that_is_silent_keeps_no_other_from_telling(folder: Path) -> None:
    with silent(folder, "0") as first, opened(folder, "1", b"a") as one:

        def figures() -> bytes:
            first.close()  # until then it is waited for
            return b"b"

        other = Siblings(folder, figures, "2")
        other.open()
        assert list(one.others()) == [b"b"]
        other.close()


class Refusing:
    """A socket that takes one connection, and once none."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self._came = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def accept(self) -> Any:
        self._came += 1
        if self._came == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return self._real.accept()


def test_one_that_could_take_no_connection_tells_again_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siblings, "AGAIN_SECONDS", 0.01)
    short = Siblings(folder, lambda: b"a", "1")
    short._listening = Refusing(short._listening)  # type: ignore[assignment]
    short.open()
    with opened(folder, "2", b"b") as other:
        assert [list(other.others()) for _ in range(3)] == [[b"a"]] * 3
    short.close()


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
