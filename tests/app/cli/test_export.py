"""`sats export` as a user runs it."""

import hashlib
import json

import pytest
from sqlalchemy import select

from app.db import Version, utc_now, write_session
from tests.app.cli.conftest import printed
from tests.fixtures.versions import FILES, add_version, content


@pytest.fixture
def line(engine, blobs):
    with write_session(engine) as session:
        add_version(session, blobs, ["cat"])
        add_version(session, blobs, ["dog"])
        return add_version(session, blobs, ["cow"], live=False).files


def test_the_live_version_s_files_are_written(run, line, tmp_path):
    target = tmp_path / "deep" / "out"
    answer = run("export", "default", str(target))
    assert answer.exit_code == 0, answer.stderr
    assert "version 2 of 'default': 3 files" in answer.stdout
    assert {file.name for file in target.iterdir()} == set(FILES)
    for name in FILES:
        assert (target / name).read_bytes() == content(name, 2)
    assert [p.name for p in target.parent.iterdir()] == ["out"], "nothing half-made stays"


def test_any_version_by_its_number_into_an_empty_directory(run, line, tmp_path):
    (tmp_path / "out").mkdir()
    answer = run("export", "default@3", str(tmp_path / "out"))
    assert answer.exit_code == 0, answer.stderr
    assert "version 3" in answer.stdout
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("default@", "a version's number"),
        ("default@0", "a version's number"),
        ("default@two", "a version's number"),
        ("default@99999999999", "a version's number"),
    ],
)
def test_what_is_no_version_is_refused(run, line, tmp_path, version, said):
    answer = run("export", version, str(tmp_path / "out"))
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert said in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("default@9", "the model has no version 9"),
        ("nope", "there is no model 'nope'"),
        ("nope@1", "there is no model 'nope'"),
    ],
)
def test_what_is_not_there_is_named(run, line, tmp_path, version, said):
    answer = run("export", version, str(tmp_path / "out"))
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr.startswith(f"sats: {said}")
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_refused(run, line, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("file/inside", "loop", "loop/inside"):
        answer = run("export", "default", str(tmp_path / place))
        assert answer.exit_code == 2, place
        assert "Traceback" not in answer.output
    assert (tmp_path / "file").read_text() == "mine"


def test_a_directory_with_something_in_it_is_left_alone(run, line, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "mine.txt"):
        answer = run("export", "default", str(target))
        assert answer.exit_code == 2
        assert "not an empty directory" in answer.stderr
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_damaged_version_is_not_exported(run, line, tmp_path, blobs, how):
    whole = content("model.onnx", 2)
    path = blobs.path(hashlib.sha256(whole).hexdigest())
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(whole + b"!")
    answer = run("export", "default", str(tmp_path / "out"))
    assert answer.exit_code == 2
    assert f"'model.onnx' of version 2 is {how} in the blob store" in answer.stderr
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("out")]


def test_whatever_lies_beside_the_directory_is_left_alone(run, line, tmp_path):
    beside = tmp_path / "out.partial"
    beside.mkdir()
    (beside / "mine.txt").write_text("mine")
    assert run("export", "default@2", str(tmp_path / "out")).exit_code == 0
    assert (beside / "mine.txt").read_text() == "mine"
    mode = (tmp_path / "out").stat().st_mode
    assert mode == beside.stat().st_mode, "as open to others as any directory that is made here"


def test_what_was_written_is_told_to_programs(run, line, served, tmp_path):
    there = ("--url", str(served.base_url))
    for target, words in ((tmp_path / "out", ()), (tmp_path / "fetched", there)):
        answer = run("export", "default", str(target), *words, "--json")
        told = json.loads(printed(answer))
        files = told.pop("files")
        assert told == {"model": "default", "version": 2, "directory": str(target)}
        assert {file["name"]: file["sha256"] for file in files} == {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in target.iterdir()
        }
        refused = run("export", "nope", str(tmp_path / "none"), *words, "--json")
        assert (refused.exit_code, printed(refused)) == (4 if words else 1, "")


@pytest.fixture
def elsewhere(served, line, monkeypatch, tmp_path):
    """Words that name a running service, while this machine has no data of its own."""
    url = str(served.base_url)

    def words(version, directory):
        monkeypatch.setenv("SATS_DATA_DIR", str(tmp_path / "nothing"))
        monkeypatch.delenv("SATS_DATABASE_URL", raising=False)
        return ("export", version, str(directory), "--url", url)

    yield words
    assert not (tmp_path / "nothing").exists(), "nothing here is looked at"


def test_a_running_service_s_version(run, elsewhere, tmp_path):
    target = tmp_path / "deep" / "out"
    answer = run(*elsewhere("default", target))
    assert answer.exit_code == 0, answer.stderr
    assert f"version 2 of 'default': 3 files in {target}\n" in answer.stdout
    assert {file.name: file.read_bytes() for file in target.iterdir()} == {
        name: content(name, 2) for name in FILES
    }
    (target / "model.onnx").unlink()
    (target / "model.onnx.part").write_bytes(content("model.onnx", 2)[:3])
    assert run(*elsewhere("default@2", target)).exit_code == 0, "it goes on where it was cut off"
    assert {file.name for file in target.iterdir()} == set(FILES)


def test_of_a_running_service_nothing_is_written_over_something_else(run, elsewhere, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    answer = run(*elsewhere("default", tmp_path / "out"))
    assert answer.exit_code == 2
    assert "holds something else: mine.txt" in answer.stderr
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("held", [content("model.onnx", 2)[:-1] + b"!", b"longer or shorter", None])
def test_nothing_is_written_over_a_file_of_the_same_name(run, elsewhere, tmp_path, held):
    target = tmp_path / "out"
    if held is None:
        assert run(*elsewhere("default@2", target)).exit_code == 0
    else:
        target.mkdir()
        (target / "model.onnx").write_bytes(held)
    before = {file.name: file.read_bytes() for file in target.iterdir()}
    answer = run(*elsewhere("default@3", target))
    assert answer.exit_code == 2
    assert "than this version's" in answer.stderr
    assert {file.name: file.read_bytes() for file in target.iterdir()} == before


def test_what_a_running_service_does_not_have_is_refused(run, elsewhere, engine, tmp_path):
    for version in ("default@9", "nope"):
        assert run(*elsewhere(version, tmp_path / "out")).exit_code == 4
    with write_session(engine) as session:
        session.scalars(select(Version).filter_by(number=3)).one().deleted_at = utc_now()
    answer = run(*elsewhere("default@3", tmp_path / "out"))
    assert answer.exit_code == 4
    assert "version 3 was deleted" in answer.stderr
    assert not (tmp_path / "out").exists()
