"""`sats import` as a user runs it: refusals here, the job itself on a real worker."""

import io
import json
import zipfile

import pytest

from app.cli import following
from tests.app.tasks.posting import drawn
from tests.fixtures.checkpoints import checkpoint_zip
from tests.worker.bench import Bench

PETS = ("background", "cat", "dog")


@pytest.fixture
def bench(settings, engine, blobs, control):
    control.plan()
    return Bench(settings, engine, blobs, control)


def unpacked(folder, labels=PETS, **how):
    with zipfile.ZipFile(io.BytesIO(checkpoint_zip(labels, **how))) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def directory(tmp_path):
    folder = unpacked(tmp_path / "pets")
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody needs")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_a_directory_becomes_the_live_version(run, bench, directory, tmp_path):
    pictures = drawn(tmp_path, "cat")
    with bench.worker():
        answer = run("import", str(directory), "--evaluate", str(pictures))
        assert answer.exit_code == 0, answer.output
        bench.assert_clean(bench.versions()[0].task_id)  # the worker tidies up after the end
    said = answer.stderr.splitlines()
    assert said[0].startswith("task ")
    assert "validating" in said
    shown = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines() if " " in line)
    assert (shown["state"], shown["outcome"], shown["version"]) == ("succeeded", "live", "1")
    assert "version 1 of 'default' is live: 2 classes" in said
    assert said[-1] == "mIoU 0.800 on 1 labelled pictures"
    version = bench.versions()[0]
    assert version.origin["source"] == "pets"
    task = bench.task(version.task_id)
    assert (task.kind, task.spec["source"], task.spec["allow_pickle"]) == ("import", "pets", False)
    assert not list((bench.settings.data_dir / "tmp").iterdir())


def test_nothing_is_sent_unless_that_is_said(run, bench, directory, monkeypatch):
    monkeypatch.setenv("SATS_URL", "http://127.0.0.1:1")
    with bench.worker():
        answer = run("import", str(directory))
    assert answer.exit_code == 0, answer.output
    assert bench.live("default") == 1
    (said,) = [line for line in answer.stderr.splitlines() if line.startswith("sats: ")]
    assert "own data" in said
    assert "--url" in said


def test_what_it_became_as_json(run, bench, directory):
    with bench.worker():
        answer = run("import", str(directory), "--json")
    assert answer.exit_code == 0, answer.output
    said = json.loads(answer.stdout)
    assert (said["kind"], said["outcome"], said["version"]) == ("import", "live", 1)


def test_a_typing_error_in_a_models_name_makes_nothing(run, bench, directory):
    with bench.worker():
        assert run("import", str(directory), "--model", "pets").exit_code == 0
        refused = run("import", str(directory), "--model", "pet")
        assert (refused.exit_code, "did you mean 'pets'?" in refused.stderr) == (2, True)
        assert bench.versions("pet") == []
        assert run("import", str(directory), "--model", "pet", "--create").exit_code == 0
    assert bench.live("pet") == 1


def test_held_by_choice_and_into_another_model(run, bench, directory):
    with bench.worker():
        answer = run(
            "import", str(directory), "--model", "pets", "--background", "none", "--no-promote"
        )
        assert answer.exit_code == 2, "`background` would be an ordinary class"
        answer = run("import", str(directory), "--model", "pets", "--no-promote")
    assert answer.exit_code == 0, answer.output
    assert "version 1 of 'pets' is held" in answer.stderr
    assert "it was not scored" in answer.stderr
    assert bench.live("pets") is None


def test_an_import_that_fails_says_why(run, bench, directory):
    bench.control.plan(fail="the weights do not fit", warning="mind the step")
    with bench.worker():
        answer = run("import", str(directory))
    assert answer.exit_code == 1
    assert "warning: mind the step" in answer.stderr
    assert "failed: the weights do not fit" in answer.stderr


def test_without_a_worker_it_says_that_it_waits(run, bench, directory, monkeypatch):
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.0)
    sleep = following.time.sleep

    def cancel_and_sleep(seconds):
        for task_id in bench.queued():
            bench.cancel(task_id)
        sleep(seconds)

    monkeypatch.setattr(following.time, "sleep", cancel_and_sleep)
    answer = run("import", str(directory))
    assert answer.exit_code == 1
    assert "it waits for a worker: `sats serve` or `sats worker` runs one" in answer.stderr
    assert answer.stderr.splitlines()[-1].endswith("was cancelled")


def test_pickled_weights_are_read_only_where_that_is_said(run, bench, tmp_path):
    folder = unpacked(tmp_path / "old", weights="pytorch_model.bin")
    refused = run("import", str(folder))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--allow-pickle" in refused.stderr
    with bench.worker():
        assert run("import", str(folder), "--allow-pickle").exit_code == 0
    job = bench.control.starts()[0].job
    assert job.allow_pickle


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["./nowhere"], "no such directory"),
        (["nowhere"], "no such directory, and not a model's id on the hub"),
        (["acme/.."], "no such directory, and not a model's id on the hub"),
        (["{pets}", "--background", "wall"], "wall"),
        (["{pets}", "--model", "A model"], "small letters"),
        (["{empty}"], "no model.safetensors"),
        (["{bert}"], "model_type"),
        (["{pets}", "--evaluate", "{notes}"], "not a zip"),
        (["{pets}", "--evaluate", "nowhere.zip"], "does not exist"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(
    run, bench, directory, tmp_path, words, said
):
    (tmp_path / "empty").mkdir()
    places = {
        "pets": directory,
        "empty": tmp_path / "empty",
        "bert": unpacked(tmp_path / "bert", model_type="bert"),
        "notes": directory / "notes.txt",
    }
    answer = run("import", *(word.format(**places) for word in words))
    assert answer.exit_code == 2, answer.output
    assert said in answer.stderr
    assert bench.queued() == []
    assert not [p for p in bench.settings.blob_dir.rglob("*") if p.is_file()]


def test_a_hub_that_cannot_be_reached_is_said(run, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    answer = run("import", "nvidia/segformer-b0-finetuned-ade-512-512")
    assert answer.exit_code == 2
    assert "the hub does not give such a model" in answer.stderr


def test_a_hub_id_is_fetched_without_what_is_not_needed(run, bench, directory, monkeypatch):
    asked = []

    def snapshot_download(repo_id, *, local_dir, allow_patterns):
        asked.append((repo_id, tuple(allow_patterns)))
        local_dir.mkdir()
        for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
            (local_dir / name).write_bytes((directory / name).read_bytes())

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with bench.worker():
        assert run("import", "acme/pets").exit_code == 0
    ((repo_id, patterns),) = asked
    assert repo_id == "acme/pets"
    assert "*.bin" not in patterns
    assert bench.versions()[0].origin["source"] == "acme/pets"
    assert json.loads((directory / "config.json").read_text())["model_type"] == "segformer"
