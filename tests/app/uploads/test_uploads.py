"""A zip is sent, looked at, and then becomes a task, or nothing."""

import errno
import hashlib
import io
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select, update

from app.db import (
    LargeUpload,
    Task,
    TaskEvent,
    TaskState,
    read_session,
    utc_now,
    write_session,
)
from app.keys.secret import read_secret
from app.keys.service import KeyLimits, Scope, create_key
from app.storage import Blob, BlobMissingError, LocalBlobStore
from app.storage.garbage import Collector
from app.uploads.tokens import Upload, make_token
from sats_core.data.readers import EncodedPicture, write_voc_zip
from tests.app.tasks.posting import SPEC
from tests.fixtures.drawings import voc_zip
from tests.fixtures.versions import add_version


def send(client, dataset: Path | bytes, **headers: str):
    content = dataset if isinstance(dataset, bytes) else dataset.read_bytes()
    return client.post("/uploads", files={"dataset": ("d.zip", content)}, headers=headers)


def post(client, token: str, spec=None, **headers: str):
    parts = {"upload": token, "spec": json.dumps(SPEC | (spec or {}))}
    # A form with files alone is multipart.
    files = {name: (None, text) for name, text in parts.items()}
    return client.post("/tasks", files=files, headers=headers)


@pytest.fixture
def pets(tmp_path):
    return voc_zip(tmp_path / "pets.zip", ["cat", "dog"], pictures=12, size=32, seed=0)


def test_an_upload_becomes_a_task(client, engine, settings, pets):
    sent = send(client, pets)
    assert sent.status_code == 201
    told = sent.json()
    assert told["bytes"] == pets.stat().st_size
    posted = post(client, told["upload"])
    assert posted.status_code == 202, posted.text
    with read_session(engine) as session:
        task = session.scalars(select(Task)).one()
    assert (task.dataset, task.dataset_bytes) == (told["sha256"], told["bytes"])
    # A refused spec leaves it there, and a task is another's reason to keep it.
    assert post(client, told["upload"], {"classes": ["cow"]}).status_code == 422
    assert LocalBlobStore(settings.blob_dir).path(told["sha256"]).is_file()


def test_what_is_in_it_is_told_before_anything_is_queued(client, engine, settings, pets):
    with write_session(engine) as session:
        add_version(session, LocalBlobStore(settings.blob_dir), ["cat"])
    told = client.get(send(client, pets).json()["links"]["self"]).json()
    assert (told["layout"], told["pictures"], told["looked_at"]) == ("voc", 12, 12)
    assert told["starts_from"] == 1
    cat, dog = told["classes"]
    assert (cat["name"], cat["known"]) == ("cat", True)
    assert (dog["name"], dog["known"], dog["color"]) == ("dog", False, "#008000")
    assert 0 < dog["share"] <= dog["share_where_shown"] < 1
    assert told["held_out"] == 2
    assert (told["errors"], told["estimated_seconds"]) == ([], None)
    with read_session(engine) as session:
        assert session.scalars(select(Task.id).where(Task.state == TaskState.QUEUED)).all() == []


def test_shares_are_those_of_the_labels(client, tmp_path):
    label = np.zeros((10, 10), np.uint8)
    label[:4] = 1
    label[9] = 255
    path = tmp_path / "d.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        for name in ("a", "b"):
            picture, mask = io.BytesIO(), io.BytesIO()
            Image.fromarray(np.full((10, 10, 3), 90, np.uint8)).save(picture, "PNG")
            Image.fromarray(label if name == "a" else label * 0).save(mask, "PNG")
            zipped.writestr(f"JPEGImages/{name}.png", picture.getvalue())
            zipped.writestr(f"SegmentationClass/{name}.png", mask.getvalue())
        zipped.writestr("classes.txt", "background\nred\nblue\n")
    told = client.get(send(client, path).json()["links"]["self"]).json()
    red, blue = told["classes"]
    assert red["pictures"] == 1
    assert red["share"] == pytest.approx(40 / 190)
    assert red["share_where_shown"] == pytest.approx(40 / 90)
    assert (blue["pictures"], blue["share_where_shown"]) == (0, None)
    assert any("'blue'" in warning for warning in told["warnings"])
    assert any("2 pictures are few" in warning for warning in told["warnings"])


def test_a_sheet_shows_labelled_pictures_in_colour(client, pets):
    told = client.get(send(client, pets).json()["links"]["self"]).json()
    answer = client.get(told["sheet"])
    assert answer.headers["content-type"] == "image/png"
    sheet = Image.open(io.BytesIO(answer.content))
    assert sheet.size == (4 * 328 - 8, 2 * 328 - 8)
    assert np.asarray(sheet)[..., 3].any(), "nothing was drawn"
    assert client.get(told["sheet"] + ",9999999").status_code == 422, "nine of them"
    beyond = told["sheet"].partition("=")[0] + "=9999999"
    assert client.get(beyond).status_code == 200


def test_what_cannot_be_read_is_named_and_the_rest_is_told(client, pets, tmp_path):
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(pets) as good, zipfile.ZipFile(broken, "w") as bad:
        names = good.namelist()
        picture = next(name for name in names if "JPEGImages" in name)
        for name in names:
            bad.writestr(name, b"no picture" if name == picture else good.read(name))
    told = client.get(send(client, broken).json()["links"]["self"]).json()
    assert told["looked_at"] == 11
    (fault,) = told["errors"]
    assert fault["file"] == picture
    assert fault["code"] == "unreadable"


def test_a_zip_that_is_none_is_told_when_it_is_looked_at(client):
    refused = client.get(send(client, b"no zip").json()["links"]["self"])
    assert refused.status_code == 422
    assert refused.json()["type"].endswith("invalid-dataset")


def test_an_upload_is_its_senders_alone(client, engine, settings, pets):
    secret = read_secret(settings)
    with write_session(engine) as session:
        mine, other = (create_key(session, secret, name, [Scope.SUBMIT]) for name in "ab")
    told = send(client, pets, Authorization=f"Bearer {mine}").json()
    for path in (told["links"]["self"], told["links"]["self"] + "/sheet"):
        assert client.get(path, headers={"Authorization": f"Bearer {mine}"}).status_code == 200
        refused = client.get(path, headers={"Authorization": f"Bearer {other}"})
        assert refused.json()["type"].endswith("upload-gone")
    refused = post(client, told["upload"], Authorization=f"Bearer {other}")
    assert refused.json()["errors"][0]["field"] == "upload"
    assert post(client, told["upload"], Authorization=f"Bearer {mine}").status_code == 202


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_token_that_was_changed_stands_for_nothing(client, pets, part):
    parts = send(client, pets).json()["upload"].split(".")
    parts[part] = parts[part][:-1] + ("0" if parts[part][-1] != "0" else "1")
    assert client.get("/uploads/" + ".".join(parts)).json()["type"].endswith("upload-gone")


def test_after_its_end_it_is_gone(client, settings, pets):
    told = send(client, pets).json()
    blob = Blob(told["sha256"], told["bytes"])
    ended = make_token(read_secret(settings), Upload(blob, int(time.time()) - 1), None)
    refused = post(client, ended)
    assert refused.status_code == 422
    assert "gone" in refused.json()["detail"]


@pytest.mark.parametrize(("sent_at", "used_at"), [(-3600, 0), (0, 3600)])
def test_replicas_whose_clocks_differ_by_an_hour_agree(client, pets, monkeypatch, sent_at, used_at):
    right = time.time

    def at_its_time(seconds, do):
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda: right() + seconds)
            return do()

    token = at_its_time(sent_at, lambda: send(client, pets)).json()["upload"]
    looked = at_its_time(used_at, lambda: client.get(f"/uploads/{token}"))
    assert looked.status_code == 200, looked.text
    posted = at_its_time(used_at, lambda: post(client, token))
    assert posted.status_code == 202, posted.text


def end_all(engine):
    """Let the time pass for which uploads are kept."""
    with write_session(engine) as session:
        session.execute(update(LargeUpload).values(expires_at=utc_now()))


def test_what_no_task_is_made_of_is_collected_after_its_token_has_ended(
    client, engine, settings, pets
):
    kept = LocalBlobStore(settings.blob_dir)
    with write_session(engine) as session:
        add_version(session, kept, ["bird"])
    told = send(client, pets).json()
    collector = Collector.of(engine, kept, settings)
    assert collector.remove(collector.find()) == []
    old = time.time() - settings.gc_grace_seconds - 1
    os.utime(kept.path(told["sha256"]), (old, old))
    assert collector.remove(collector.find()) == [], "its token is good"
    end_all(engine)
    collector.remove(collector.find())
    assert client.get(told["links"]["self"]).json()["detail"].startswith("the upload was removed")
    assert post(client, told["upload"]).json()["type"].endswith("upload-gone")


def test_a_file_and_a_token_are_too_much(client, pets):
    token = send(client, pets).json()["upload"]
    files = {
        "dataset": ("d.zip", pets.read_bytes()),
        "upload": (None, token),
        "spec": (None, json.dumps(SPEC)),
    }
    refused = client.post("/tasks", files=files)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "upload"


def test_annotations_too_long_for_a_look_are_left_to_the_task(client, tmp_path, monkeypatch):
    from app.uploads import opening

    monkeypatch.setattr(opening, "LARGEST_ANNOTATIONS", 10)
    path = tmp_path / "coco.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a.jpg", b"a picture")
        zipped.writestr("a.json", '{"images": [], "annotations": [], "categories": []}')
    refused = client.get(send(client, path).json()["links"]["self"])
    assert refused.status_code == 413
    assert refused.json()["errors"][0]["file"] == "a.json"


def test_a_disk_that_is_full_takes_no_upload(client, settings, service, pets, monkeypatch):
    services = service.state.services
    full = settings.model_copy(update={"keep_free_bytes": 2**60})
    monkeypatch.setattr(
        service.state, "services", type(services)(**{**vars(services), "settings": full})
    )
    assert send(client, pets).status_code == 507


def test_the_pace_of_past_steps_tells_how_long_it_would_take(client, engine, settings, pets):
    blobs = LocalBlobStore(settings.blob_dir)
    with write_session(engine) as session:
        add_version(session, blobs, ["bird"])  # a base step: its pace is another
        step = add_version(session, blobs, ["cat"])
        step.seconds = 30.0
        session.add(TaskEvent(task_id=step.task_id, kind="labels", data={"pictures": 60}))
    told = client.get(send(client, pets).json()["links"]["self"]).json()
    assert told["estimated_seconds"] == pytest.approx(0.5 * (12 - told["held_out"]))


def test_pictures_that_look_the_same_are_told(client, tmp_path):
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(3)]
    pictures = [Image.fromarray(one).resize((96, 96), Image.Resampling.BILINEAR) for one in small]
    label = np.zeros((96, 96), np.uint8)
    label[:48] = 1
    items = [
        EncodedPicture(f"p{number}", ".jpg", jpeg(pictures[number % 3], quality), label)
        for number, quality in enumerate((95, 95, 95, 70))
    ]
    write_voc_zip(tmp_path / "twice.zip", items, ["cat"])
    told = client.get(send(client, tmp_path / "twice.zip").json()["links"]["self"]).json()
    assert told["duplicates"] == 1
    assert "1 of 4 pictures look the same as another one" in told["warnings"]


def jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def drawn_badly(pets: Path, path: Path) -> Path:
    """Write the data set again, with pictures that are none."""
    with zipfile.ZipFile(pets) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, b"no picture" if "JPEGImages" in name else good.read(name))
    return path


def test_without_a_picture_that_can_be_read_there_is_no_sheet(client, pets, tmp_path):
    sent = send(client, drawn_badly(pets, tmp_path / "bad.zip")).json()
    told = client.get(sent["links"]["self"]).json()
    assert (told["looked_at"], told["sheet"]) == (0, None)
    assert 'class="sheet"' not in client.get(f"/ui/uploads/{sent['upload']}").text


def test_a_model_without_a_live_version_is_told(client, engine, settings, pets):
    with write_session(engine) as session:
        add_version(session, LocalBlobStore(settings.blob_dir), ["cat"], live=False)
    answer = client.get(send(client, pets).json()["links"]["self"])
    assert answer.status_code == 200
    assert "none is live" in answer.json()["warnings"][0]
    assert answer.json()["starts_from"] is None


def test_what_is_held_out_is_what_a_task_would_hold_out(client, tmp_path):
    few = voc_zip(tmp_path / "few.zip", ["cat"], pictures=2, size=32, seed=0)
    told = client.get(send(client, few).json()["links"]["self"]).json()
    assert (told["held_out"], told["errors"]) == (1, [])


def test_only_the_split_to_train_on_counts_for_the_time(client, engine, settings, tmp_path):
    blobs = LocalBlobStore(settings.blob_dir)
    with write_session(engine) as session:
        add_version(session, blobs, ["bird"])
        step = add_version(session, blobs, ["cow"])
        step.seconds = 30.0
        session.add(TaskEvent(task_id=step.task_id, kind="labels", data={"pictures": 60}))
    parts = {"train": 3, "val": 2, "test": 3}
    split = voc_zip(tmp_path / "split.zip", ["cat"], pictures=8, size=32, splits=parts)
    told = client.get(send(client, split).json()["links"]["self"]).json()
    assert told["held_out"] == 2
    assert told["estimated_seconds"] == pytest.approx(0.5 * 3)
    assert any("3 pictures of the split 'test' left unused" in said for said in told["warnings"])


def test_nothing_to_train_on_is_told(client, tmp_path):
    split = voc_zip(tmp_path / "split.zip", ["cat"], pictures=4, size=32, splits={"val": 4})
    told = client.get(send(client, split).json()["links"]["self"]).json()
    assert "0 pictures to train on" in told["errors"][0]["message"]


def test_a_spec_is_no_part_of_an_upload(client, pets):
    files = {"dataset": ("d.zip", pets.read_bytes()), "spec": (None, json.dumps(SPEC))}
    refused = client.post("/uploads", files=files)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "spec"


def test_query_parameters_that_nobody_reads_are_refused(client, pets):
    path = send(client, pets).json()["links"]["self"]
    for refused in (
        client.post("/uploads?name=a", files={"dataset": ("d.zip", pets.read_bytes())}),
        client.get(path, params={"modle": "default"}),
        client.get(f"{path}/sheet", params={"picture": "1"}),
    ):
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["code"] == "unknown"


def test_a_disk_that_fills_up_meanwhile_is_told(client, service, pets, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(service.state.services.blobs, "stage", full)
    assert send(client, pets).status_code == 507


@pytest.fixture
def bounded(client, engine, settings, pets):
    """Headers of a key whose tasks may keep one and a half of the pets' bytes."""
    limits = KeyLimits(stored_bytes=pets.stat().st_size * 3 // 2)
    with write_session(engine) as session:
        key = create_key(session, read_secret(settings), "a", [Scope.SUBMIT], limits=limits)
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def others(tmp_path):
    return voc_zip(tmp_path / "others.zip", ["cow", "ewe"], pictures=12, size=32, seed=1)


def test_open_uploads_count_for_the_bytes_of_a_key(client, engine, pets, others, bounded, settings):
    assert send(client, pets, **bounded).status_code == 201
    assert send(client, pets, **bounded).status_code == 201, "the same bytes"
    refused = send(client, others, **bounded)
    assert refused.status_code == 429
    assert refused.json()["type"].endswith("limit-stored-bytes")
    content = others.read_bytes()
    with pytest.raises(BlobMissingError):
        LocalBlobStore(settings.blob_dir).path(hashlib.sha256(content).hexdigest())
    end_all(engine)
    assert send(client, others, **bounded).status_code == 201


def test_what_tasks_keep_counts_for_uploads_once(client, pets, others, bounded):
    token = send(client, pets, **bounded).json()["upload"]
    assert post(client, token, **bounded).status_code == 202
    assert send(client, others, **bounded).json()["type"].endswith("limit-stored-bytes")
    small = others.read_bytes()[: pets.stat().st_size // 3]
    assert send(client, small, **bounded).status_code == 201, "its task's upload counts once"
    assert send(client, pets.read_bytes() * 2, **bounded).status_code == 413


def test_a_zip_goes_with_its_task_and_a_better_one_may_come(
    client, settings, pets, others, bounded
):
    told = send(client, pets, **bounded).json()
    task = post(client, told["upload"], **bounded).json()
    cancelled = client.post(f"{task['links']['self']}:cancel", headers=bounded)
    assert cancelled.json()["state"] == "cancelled"
    assert not LocalBlobStore(settings.blob_dir).is_there(told["sha256"])
    assert send(client, others, **bounded).status_code == 201


def test_a_token_stays_good_while_a_task_keeps_what_it_stands_for(client, settings, pets):
    told = send(client, pets).json()
    tasks = [post(client, told["upload"]).json() for _ in range(2)]
    for task in tasks:
        assert LocalBlobStore(settings.blob_dir).is_there(told["sha256"])
        assert client.post(f"{task['links']['self']}:cancel").status_code == 202
    assert not LocalBlobStore(settings.blob_dir).is_there(told["sha256"])
    assert post(client, told["upload"]).json()["type"].endswith("upload-gone")


def test_a_request_by_token_is_a_replay_once_its_task_has_ended(client, pets):
    token = send(client, pets).json()["upload"]
    key = {"Idempotency-Key": "k"}
    task_id = post(client, token, **key).json()["id"]
    assert client.post(f"/tasks/{task_id}:cancel").status_code == 202
    again = post(client, token, **key)
    assert (again.status_code, again.json()["id"]) == (202, task_id)
    assert again.headers["idempotency-replayed"] == "true"
    other = post(client, token, **{"Idempotency-Key": "other"})
    assert (other.status_code, other.json()["type"]) == (422, "urn:sats:problem:upload-gone")


def test_a_zip_that_was_sent_is_given_up_by_its_token(client, engine, pets):
    told = send(client, pets).json()
    blobs = client.app.state.services.blobs
    assert client.get(told["links"]["self"]).status_code == 200
    assert client.delete(told["links"]["self"]).status_code == 204
    assert list(blobs.entries()) == []
    with read_session(engine) as session:
        assert session.scalars(select(LargeUpload)).all() == []
    assert client.get(told["links"]["self"]).json()["type"].endswith("upload-gone")
    again = client.delete(told["links"]["self"])
    assert (again.status_code, again.json()["type"]) == (404, "urn:sats:problem:not-found")


def test_a_zip_that_has_an_id_is_given_up_by_that(client, pets):
    told = send(client, pets).json()
    wish = {"name": "pets.zip", "bytes": told["bytes"], "sha256": told["sha256"]}
    named = client.post("/uploads", json=wish).json()
    refused = client.delete(told["links"]["self"])
    assert refused.status_code == 404
    assert f"DELETE {named['links']['self']}" in refused.json()["detail"]
    assert client.delete(named["links"]["self"]).status_code == 204


def test_a_zip_that_a_task_was_made_of_is_the_task_s(client, engine, settings, pets):
    told = send(client, pets).json()
    assert post(client, told["upload"]).status_code == 202
    assert client.delete(told["links"]["self"]).status_code == 404
    assert LocalBlobStore(settings.blob_dir).path(told["sha256"]).is_file()


def test_nobody_gives_up_what_another_key_sent(client, engine, settings, pets):
    secret, headers = read_secret(settings), []
    with write_session(engine) as session:
        for name in ("a", "b"):
            key = create_key(session, secret, name, [Scope.SUBMIT])
            headers.append({"Authorization": f"Bearer {key}"})
    told = send(client, pets, **headers[0]).json()
    assert client.delete(told["links"]["self"], headers=headers[1]).status_code == 404
    forged = told["links"]["self"][:-1] + ("0" if told["links"]["self"][-1] != "0" else "1")
    assert client.delete(forged, headers=headers[0]).status_code == 404
    both = send(client, pets, **headers[1]).json()
    assert client.delete(told["links"]["self"], headers=headers[0]).status_code == 204
    assert client.get(both["links"]["self"], headers=headers[1]).status_code == 200
