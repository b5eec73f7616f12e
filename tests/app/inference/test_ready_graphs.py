"""Graphs that were made ready are opened again, and trusted only where they are whole and ours."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from app.inference import ready_graphs
from app.inference.ready_graphs import ReadyGraphs
from app.inference.sessions import ON_CPU, Sessions
from app.settings import Settings
from app.storage import BlobStoreDownError, LocalBlobStore
from tests.app.inference.colour_graph import CLASSES, write_version

SHOWN = np.random.default_rng(0).normal(size=(2, 3, 32, 64)).astype(np.float32)


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path / "blobs")


@pytest.fixture
def graph(tmp_path: Path, blobs: LocalBlobStore) -> Path:
    return blobs.path(blobs.put_file(write_version(tmp_path / "version")[1]).key)


@pytest.fixture
def ready(tmp_path: Path, blobs: LocalBlobStore) -> ReadyGraphs:
    return ReadyGraphs.of(Settings(data_dir=tmp_path, keep_free_bytes=0), blobs)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Settings(data_dir=tmp_path).ready_graphs_dir


def test_the_second_session_does_not_read_the_graph(
    graph: Path, ready: ReadyGraphs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, first = Sessions(graph), Sessions(graph, ready=ready)
    expected = plain.logits(SHOWN, 1)
    assert (first.logits(SHOWN, 1) == expected).all()
    (entry,) = folder.iterdir()
    assert entry.name.startswith(graph.name)
    assert folder.stat().st_mode & 0o077 == entry.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(Sessions, "_read", None)
    second = Sessions(graph, ready=ready)
    for threads in (1, 2):
        assert (second.logits(SHOWN, threads) == expected).all()
    assert second.form == first.form == plain.form != ""


def damaged(entry: Path) -> None:
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 1
    entry.write_bytes(data)


def cut_off(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-100])


def no_graph(entry: Path) -> None:
    own = hashlib.sha256(b"no graph").hexdigest()
    entry.with_name(entry.name[: -len(own) - len(".onnx")] + own + ".onnx").write_bytes(b"no graph")
    entry.unlink()


def linked(entry: Path) -> None:
    entry.rename(entry.parent.parent / "elsewhere")
    entry.symlink_to(entry.parent.parent / "elsewhere")


def open_to_others(entry: Path) -> None:
    entry.chmod(0o620)


@pytest.mark.parametrize("change", [damaged, cut_off, no_graph, linked, open_to_others])
def test_what_is_not_whole_or_not_ours_is_made_anew(
    graph: Path, ready: ReadyGraphs, folder: Path, change: Callable[[Path], None]
) -> None:
    expected = Sessions(graph, ready=ready).logits(SHOWN, 1)
    (made,) = folder.iterdir()
    change(made)
    with capture_logs() as logs:
        assert (Sessions(graph, ready=ready).logits(SHOWN, 1) == expected).all()
    assert [log["event"] for log in logs] == [
        "ready_graph_not_opened" if change is no_graph else "ready_graph_not_used"
    ]
    (entry,) = folder.iterdir()
    assert entry == made
    assert not entry.is_symlink()
    with capture_logs() as logs:
        Sessions(graph, ready=ready).session(1)
    assert logs == []


def test_another_users_file_is_not_opened(
    graph: Path, ready: ReadyGraphs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sessions(graph, ready=ready).session(1)
    monkeypatch.setattr(ready_graphs.os, "geteuid", lambda: os.getuid() + 1)
    with capture_logs() as logs:
        Sessions(graph, ready=ready).session(1)
    assert "own" in logs[0]["error"]


def test_of_what_was_made_side_by_side_one_stays(
    graph: Path, ready: ReadyGraphs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sessions(graph, ready=ready).session(1)
    (entry,) = folder.iterdir()
    data = entry.read_bytes() + b"\x32\x00"  # a description that is empty
    own = hashlib.sha256(data).hexdigest()
    other = entry.with_name(entry.name.replace(entry.stem[-64:], own))
    other.write_bytes(data)
    monkeypatch.setattr(ReadyGraphs, "find", lambda *_: None)  # nobody had made it when it began
    Sessions(graph, ready=ready).session(1)
    assert [*folder.iterdir()] == [min(entry, other)]


def test_another_release_makes_its_own(
    graph: Path, ready: ReadyGraphs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sessions(graph, ready=ready).session(1)
    monkeypatch.setattr(Sessions, "name", "onnxruntime 99")
    Sessions(graph, ready=ready).session(1)
    assert len([*folder.iterdir()]) == 2


def test_what_runs_elsewhere_is_not_kept(
    graph: Path, ready: ReadyGraphs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sessions, "providers", ["AnotherExecutionProvider", ON_CPU])
    sessions = Sessions(graph, ready=ready)
    monkeypatch.setattr(Sessions, "providers", [ON_CPU])
    sessions.session(1)
    assert not folder.exists()


@pytest.mark.parametrize("obstacle", ["file", "full"])
def test_where_nothing_can_be_kept_graphs_are_served(
    graph: Path, tmp_path: Path, obstacle: str
) -> None:
    folder = tmp_path / "graphs"
    if obstacle == "file":
        folder.touch()
    ready = ReadyGraphs(folder, lambda _: True, keep_free=2**60 if obstacle == "full" else 0)
    with capture_logs() as logs:
        assert Sessions(graph, ready=ready).logits(SHOWN, 1).any()
    assert [log["event"] for log in logs] == ["ready_graph_not_kept"] * (obstacle == "file")
    assert obstacle == "file" or not [*folder.iterdir()]


def test_no_graph_leaves_nothing(tmp_path: Path, ready: ReadyGraphs, folder: Path) -> None:
    _, graph = write_version(tmp_path / "broken")
    graph.write_bytes(graph.read_bytes().replace(b"AveragePool", b"UnheardPool"))
    with pytest.raises(Exception, match="UnheardPool"):
        Sessions(graph, ready=ready).session(1)
    assert not [*folder.iterdir()]


def test_what_has_no_blob_any_more_goes(
    graph: Path, tmp_path: Path, blobs: LocalBlobStore, ready: ReadyGraphs, folder: Path
) -> None:
    Sessions(graph, ready=ready).session(1)
    _, other = write_version(tmp_path / "other", CLASSES[:2])
    second = blobs.path(blobs.put_file(other).key)
    blobs.delete(graph.name)
    Sessions(second, ready=ready).session(1)
    # One whose version was deleted while it was loaded.
    Sessions(write_version(tmp_path / "third", CLASSES[:3])[1], ready=ready).session(1)
    assert [path.name[:64] for path in folder.iterdir()] == [second.name]


def test_old_ones_make_room(
    graph: Path,
    tmp_path: Path,
    blobs: LocalBlobStore,
    ready: ReadyGraphs,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = [
        blobs.path(blobs.put_file(write_version(tmp_path / str(n), CLASSES[:n])[1]).key)
        for n in (2, 3)
    ]
    for number, one in enumerate((graph, others[0])):
        Sessions(one, ready=ready).session(1)
        (entry,) = folder.glob(f"{one.name}-*")
        os.utime(entry, (number, number))
    Sessions(graph, ready=ready).session(1)  # used last, though made first
    left, fresh = (folder / f".draft-{name}" for name in ("left", "fresh"))
    for draft in (left, fresh):
        draft.touch()
    os.utime(left, (time.time() - 2 * ready_graphs.DRAFT_SECONDS,) * 2)
    monkeypatch.setattr(
        ready_graphs, "MOST_BYTES", 2 * max(p.stat().st_size for p in folder.iterdir())
    )
    Sessions(others[1], ready=ready).session(1)
    names = sorted(path.name[:64] for path in folder.iterdir() if path != fresh)
    assert names == sorted([graph.name, others[1].name])
    assert fresh.exists()


def test_a_store_that_is_down_keeps_nobody_from_serving(graph: Path, folder: Path) -> None:
    def known(_: str) -> bool:
        raise BlobStoreDownError

    with capture_logs() as logs:
        Sessions(graph, ready=ReadyGraphs(folder, known)).session(1)
    assert [log["event"] for log in logs] == ["ready_graphs_not_tidied"]
    assert [*folder.iterdir()]
