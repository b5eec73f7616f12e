"""Whenever the power goes while something is written, it is there whole or not at all."""

import io
from pathlib import Path

import pytest

from app.storage import BlobMissingError, LocalBlobStore
from sats_core.files import write_whole
from sats_core.record import Record
from sats_core.training import checkpoint
from sats_core.training.results import write_result
from tests.faults.disk import lay_out, recorded
from tests.sats_core.training.test_checkpoint import STEP, made, written

DATA = bytes(range(256)) * 8


class Answer(Record):
    number: int


def test_the_record_sees_what_is_not_synced(tmp_path: Path) -> None:
    """It finds the fault that it is for: a name before its bytes."""
    with recorded(tmp_path) as disk:
        (tmp_path / "draft").write_bytes(DATA)
        (tmp_path / "draft").replace(tmp_path / "kept")
    left = [files.get(Path("kept")) for _, files in disk.crashes()]
    assert DATA[: len(DATA) // 2] in left
    assert None in left


def test_a_blob_is_missing_or_whole(tmp_path: Path) -> None:
    root = (tmp_path / "disk").resolve()
    store = LocalBlobStore(root)
    old = store.put(io.BytesIO(b"stored before"))
    with recorded(root) as disk:
        key = store.put(io.BytesIO(DATA)).key
    last = ""
    for number, (moment, files) in enumerate(disk.crashes()):
        again = LocalBlobStore(lay_out(files, tmp_path / str(number)))
        assert again.verified(old.key).read_bytes() == b"stored before", moment
        try:
            last = again.verified(key).name
        except BlobMissingError:
            last = ""
    assert last == key, "once it is published it stays"
    assert [act for act, *_ in disk.acts] == ["bytes", "rename", "names", "names"]


def test_a_checkpoint_is_the_one_before_or_the_next(tmp_path: Path) -> None:
    root = (tmp_path / "disk").resolve()
    root.mkdir()
    model, optimizer = written(root)
    with recorded(root) as disk:
        checkpoint.save(root, model, optimizer, 2, STEP)
    fresh = made(tmp_path)
    found = []
    for number, (_, files) in enumerate(disk.crashes()):
        folder = lay_out(files, tmp_path / str(number))
        found.append(checkpoint.resume(folder, *fresh, STEP))
    assert set(found) == {1, 2}
    assert found[-2:] == [2, 2], "what was saved is there"


def test_a_result_is_missing_or_whole_with_all_that_it_names(tmp_path: Path) -> None:
    root = (tmp_path / "disk").resolve()
    (root / "version").mkdir(parents=True)
    with recorded(root) as disk:
        (root / "held_out.zip").write_bytes(DATA)
        write_result(root, Answer(number=3))
    seen = []
    for moment, files in disk.crashes():
        result = files.get(Path("result.json"))
        seen.append(result is not None)
        if result is not None:
            assert Answer.model_validate_json(result).number == 3, moment
            assert files[Path("held_out.zip")] == DATA, moment
    assert seen[-2:] == [True, True]
    assert not seen[0]


@pytest.mark.parametrize("before", [None, b"one"])
def test_whatever_is_written_whole_is_as_before_or_as_it_is_to_be(
    tmp_path: Path, before: bytes | None
) -> None:
    root = tmp_path.resolve()
    if before is not None:
        (root / "a").write_bytes(before)
    with recorded(root) as disk:
        write_whole(root / "a", b"another")
    left = [files.get(Path("a")) for _, files in disk.crashes()]
    assert set(left) == {before, b"another"}
    assert left[-1] == b"another"
