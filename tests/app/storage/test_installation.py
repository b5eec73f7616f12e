"""A service on an object store, seen from outside: probes, doctor, garbage, settings."""

import io
import logging

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient
from typer.testing import CliRunner

from app.cli import cli
from app.db import Place, write_session
from app.doctor.examination import examine
from app.doctor.finding import Installation
from app.main import create_app
from app.settings import Settings, get_settings
from app.storage import LocalBlobStore, objects, open_store
from app.storage.garbage import Collector
from tests.fixtures.faulty_s3 import drops, fails
from tests.fixtures.logs import plain_logs
from tests.fixtures.processes import environment
from tests.fixtures.samples import samples
from tests.fixtures.versions import add_version

LEFT = b"left behind"
NOW = -60.0
"""A grace period that is over for what was written just now, whatever clock the store goes by."""


@pytest.fixture
def database_url(sqlite_url):
    """One database is enough: the object store knows none."""
    return sqlite_url


@pytest.fixture
def host(settings, place):
    """Settings of a host whose blobs lie in the object store."""
    given = settings.model_dump(exclude_unset=True)
    return Settings(**place.settings(store_seconds=2.0).model_dump(exclude_unset=True) | given)


@pytest.fixture
def run_on(monkeypatch):
    """Run `sats ...` on a host's settings."""
    handlers = logging.root.handlers[:]

    def on(host):
        for name, value in environment(host).items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        return lambda *words: CliRunner().invoke(cli, words)

    yield on
    logging.root.handlers[:] = handlers  # the commands log to a stderr that ends with them
    plain_logs()
    get_settings.cache_clear()


@pytest.fixture
def blobs(host):
    return open_store(host, None)


@pytest.fixture
def version(engine, blobs):
    with write_session(engine) as session:
        files = add_version(session, blobs, ["cat"]).files
    return {name: file["blob"] for name, file in files.items()}


def findings(engine, host):
    found = examine(Installation.of(engine, host))
    return {(one.kind, one.where) for one in found if one.kind.startswith(("blob", "write"))}


@pytest.mark.parametrize(
    ("fault", "said"),
    [(drops, "does not answer"), (fails(403, "AccessDenied"), "refuses to be written")],
)
def test_a_bucket_that_is_down_is_told_by_a_process_that_stays_ready(
    host, line, monkeypatch, fault, said
):
    monkeypatch.setattr(objects, "FAULT_SECONDS", 0.0)
    with TestClient(create_app(host), base_url="http://127.0.0.1") as client:
        assert client.get("/health/ready").json()["down"] == {}
        assert samples(client)["sats_ready", ("part", "blobs")] == 1
        line.inject(fault)
        answer = client.get("/health/ready")
        assert answer.status_code == 200
        assert answer.json()["down"] == {"blobs": said}
        assert samples(client)["sats_ready", ("part", "blobs")] == 0
        assert client.get("/v2/health/ready").status_code == 200
        line.clear()
        assert client.get("/health/ready").json()["down"] == {}
    assert not host.blob_dir.exists()


def test_the_bucket_is_not_asked_by_each_who_asks_whether_it_is_there(host, line):
    with TestClient(create_app(host), base_url="http://127.0.0.1") as client:
        for _ in range(5):
            assert client.get("/health/ready").status_code == 200
    assert [one.partition(" ")[0] for one in line.seen if "probe" in one] == ["PUT"]


def test_what_needs_the_bucket_is_503_while_it_is_down(host, line, version):
    with TestClient(
        create_app(host),
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    ) as client:
        path = "/admin/models/default/versions/1/files/config.json"
        line.inject(drops)
        assert client.get(path).status_code == 503
        line.clear()
        assert client.get(path).status_code == 200


def test_the_doctor_reads_every_blob_in_the_bucket(engine, host, place, blobs, version):
    assert findings(engine, host) == set()
    for key in version.values():
        blobs.verified(key)
    place.overwrite(version["config.json"], b"others")
    blobs._bucket.delete(f"{version['model.onnx'][:2]}/{version['model.onnx']}")
    assert {kind for kind, _ in findings(engine, host)} == {"blob-damaged", "blob-missing"}


@pytest.mark.parametrize("command", ["doctor", "gc"])
def test_commands_that_need_the_bucket_say_that_it_is_down(run_on, host, line, version, command):
    run = run_on(host)
    assert "blob" not in run(command).stdout
    line.inject(drops)
    answer = run(command)
    assert answer.exit_code == 2
    assert answer.stderr.startswith("sats: the blob store cannot be read: ")


def test_garbage_in_the_bucket_and_on_the_host_is_collected(engine, host, place, blobs, version):
    left = blobs.put(io.BytesIO(LEFT)).key
    place.leave_unfinished(blobs, "upload")
    (host.staging_dir / "tmpabc").write_bytes(b"half")
    collector = Collector(engine, {Place.BLOB_STORE: blobs}, NOW)
    assert {one.entry.name for one in collector.find()} == {left, "upload", "tmpabc"}
    collector.remove(collector.find())
    assert collector.find() == []
    assert {entry.name for entry in blobs.entries()} == set(version.values())


def test_what_was_deleted_elsewhere_is_forgotten_here(place, blobs, version):
    key = blobs.put(io.BytesIO(LEFT)).key
    blobs.verified(key)
    place.host().delete(key)
    blobs.forget_deleted()
    assert key not in blobs._cache.all_keys()


def test_without_a_url_blobs_lie_in_a_directory(settings):
    assert isinstance(open_store(settings, None), LocalBlobStore)
    assert settings.checkpoints_every is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"store_url": "http://bucket"}, "store_url"),
        ({"store_url": "s3://"}, "store_url"),
        ({"store_url": "s3://key:secret@bucket"}, "store_url"),
        ({"store_url": "s3://bucket/../other"}, None),
        ({"store_url": "s3://bucket", "store_endpoint": "ftp://a"}, "store_endpoint"),
        ({"store_url": "s3://bucket", "store_key_id": "a"}, "SATS_STORE_SECRET"),
        ({"store_url": "az://bucket", "store_secret": "a"}, "SATS_STORE_KEY_ID"),
        ({"store_url": "gs://bucket", "store_key_id": "a"}, "SATS_STORE_KEY_ID"),
        ({"store_endpoint": "https://a"}, "SATS_STORE_ENDPOINT"),
        ({"store_region": "eu"}, "SATS_STORE_REGION"),
        ({"store_url": "s3://bucket", "store_seconds": 30.0}, "shorter than SATS_LEASE_SECONDS"),
        ({"store_url": "s3://bucket", "lease_seconds": 20.0}, "shorter than SATS_LEASE_SECONDS"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, named):
    with pytest.raises(ValidationError) as told:
        Settings(**wrong)
    assert named is None or named in str(told.value)


def test_a_key_that_is_none_is_not_said(tmp_path):
    settings = Settings(data_dir=tmp_path, store_url="gs://bucket", store_secret="only-in-tests")
    with pytest.raises(ValueError, match="SATS_STORE_URL") as told:
        open_store(settings, None)
    assert "only-in-tests" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("gs://bucket/prefix", {}),
        ("az://container", {"store_key_id": "account", "store_secret": "a2V5"}),
        ("s3://bucket", {"store_endpoint": "https://bucket.example.org"}),
    ],
)
def test_every_provider_is_opened_without_being_asked(tmp_path, url, given):
    settings = Settings(data_dir=tmp_path, store_url=url, **given)
    assert list(open_store(settings, None)._cache.all_keys()) == []


def test_a_secret_is_not_said(host):
    assert "only-in-tests" not in repr(host)
