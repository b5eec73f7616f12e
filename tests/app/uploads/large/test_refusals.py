"""What an upload in parts cannot be, and what becomes of one that is cut off."""

import shutil
import socket
from datetime import timedelta

import pytest
from sqlalchemy import update

from app.db import (
    LargeUpload,
    utc_now,
    write_session,
)
from app.uploads import large
from tests.app.uploads.sending import (
    DATA,
    DIRECTORY,
    PART,
    announce,
    complete,
    look,
    put_rightly,
)


@DIRECTORY
@pytest.mark.parametrize(
    ("wish", "status", "field"),
    [
        ({}, 422, "bytes"),
        ({"bytes": 0}, 422, "bytes"),
        ({"bytes": -1}, 422, "bytes"),
        ({"bytes": True}, 422, "bytes"),
        ({"bytes": "12"}, 422, "bytes"),
        ({"bytes": 10**30}, 413, "bytes"),
        ({"bytes": 1, "sha256": "A" * 64}, 422, "sha256"),
        ({"bytes": 1, "sha256": "a"}, 422, "sha256"),
        ({"bytes": 1, "name": ""}, 422, "name"),
        ({"bytes": 1, "name": "a\n"}, 422, "name"),
        ({"bytes": 1, "size": 1}, 422, "size"),
        ([], 422, "body"),
    ],
)
def test_what_cannot_be_announced_names_the_field(client, wish, status, field):
    refused = client.post("/uploads", json=wish)
    assert refused.status_code == status, refused.text
    assert refused.json()["errors"][0]["field"] == field


@DIRECTORY
def test_json_that_is_none_is_refused(client):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    refused = client.post("/uploads", content=b'{"bytes": ', headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "unreadable")
    long = client.post("/uploads", content=b" " * (2**20 + 1), headers=headers)
    assert long.status_code == 413


@DIRECTORY
@pytest.mark.parametrize("number", [0, 4, 2001, "x", "1_0", " 1"])
def test_a_part_that_it_has_not_is_refused(client, number):
    told = announce(client, DATA).json()
    refused = client.put(f"/uploads/{told['upload']}/parts/{number}", content=b"")
    assert refused.status_code in (404, 422)
    named = [error["field"] for error in refused.json()["errors"]]
    assert len(named) == len(set(named)), "what two parts of the call declare is named once"


@DIRECTORY
def test_a_part_without_a_number_is_nothing(client):
    told = announce(client, DATA).json()
    path = f"/uploads/{told['upload']}/parts/"
    refused = client.put(path, content=DATA[:PART], follow_redirects=False)
    assert refused.status_code == 404
    assert refused.json()["type"].endswith("not-found")


@DIRECTORY
@pytest.mark.parametrize("upload", ["x", "0" * 200, "00000000-0000-4000-8000-000000000000", "%00"])
def test_an_upload_that_there_is_not_is_not_found(client, upload):
    assert client.get(f"/uploads/{upload}/parts").status_code == 404
    assert client.put(f"/uploads/{upload}/parts/1", content=b"").status_code == 404
    assert client.post(f"/uploads/{upload}:complete").status_code == 404
    assert client.delete(f"/uploads/{upload}").status_code == 404


@DIRECTORY
def test_parts_are_larger_where_there_would_be_too_many(client, monkeypatch):
    monkeypatch.setattr(large, "MOST_PARTS", 2)
    told = announce(client, DATA).json()
    assert [part["bytes"] for part in told["missing"]] == [len(DATA) // 2] * 2
    assert told["part_bytes"] > PART


@DIRECTORY
def test_only_some_of_many_parts_are_told_at_once(client, monkeypatch):
    monkeypatch.setattr("app.uploads.parts.MOST_TOLD", 2)
    told = announce(client, DATA).json()
    assert [part["number"] for part in told["missing"]] == [1, 2]
    assert told["parts"] == 3
    refused = client.post(told["links"]["complete"])
    assert refused.json()["detail"] == "3 of 3 parts are missing"


@DIRECTORY
def test_a_disk_that_is_full_takes_no_part(client, service, monkeypatch):
    told = announce(client, DATA).json()
    for part in told["missing"]:
        put_rightly(client, part, DATA)
    services = service.state.services
    full = services.settings.model_copy(update={"keep_free_bytes": 2**60})
    monkeypatch.setattr(
        service.state, "services", type(services)(**{**vars(services), "settings": full})
    )
    assert announce(client, DATA[1:]).status_code == 507
    own = told["missing"][0]["url"]
    assert client.put(own, content=DATA[:PART]).status_code == 507
    told = complete(client, told["upload"])
    assert (told["state"], told["error"]["status"]) == ("open", 507)


@pytest.mark.parametrize(
    ("database_url", "kind", "copies"),
    [("embedded", "directory", 2), ("embedded", "s3", 1)],
    indirect=["database_url", "kind"],
)
def test_there_is_to_be_room_for_the_parts_and_for_what_they_become(
    client, settings, monkeypatch, copies
):
    usage = shutil.disk_usage(settings.data_dir)

    def leave(room):
        left = usage._replace(free=settings.keep_free_bytes + room)
        monkeypatch.setattr("app.tasks.disk.shutil.disk_usage", lambda _: left)

    leave(copies * len(DATA) - 1)
    assert announce(client, DATA).status_code == 507
    leave(copies * len(DATA))
    assert announce(client, DATA).status_code == 202
    leave(0)
    assert announce(client, DATA).status_code == 202, "what was begun is gone on with"


@DIRECTORY
def test_who_is_cut_off_sends_the_part_again(served):
    told = announce(served, DATA).json()
    part = told["missing"][0]
    request = served.build_request("PUT", part["url"], headers={"Content-Length": str(PART)})
    with socket.create_connection((served.base_url.host, served.base_url.port)) as line:
        line.sendall(
            f"PUT {part['url']} HTTP/1.1\r\nHost: {request.headers['host']}\r\n"
            f"Content-Length: {PART}\r\n\r\n".encode()
            + bytes(PART // 2)
        )
    assert look(served, told["upload"])["stored"] == []
    put_rightly(served, part, DATA)
    assert look(served, told["upload"])["stored"] == [1]


@DIRECTORY
def test_uploads_outlive_their_day_only_where_somebody_goes_on(client, engine):
    told = announce(client, DATA).json()
    with write_session(engine) as session:
        soon = utc_now() + timedelta(minutes=1)
        session.execute(update(LargeUpload).values(expires_at=soon))
    again = announce(client, DATA).json()
    assert again["upload"] == told["upload"]
    assert again["expires_at"] >= told["expires_at"]
