"""Data sets that lie in a bucket, named by a task."""

import hashlib
import json
import shutil

import obstore
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.app.storage.places import S3Prefix
from tests.app.tasks.posting import SPEC, drawn
from tests.fixtures.faulty_s3 import drops, faulty
from tests.fixtures.s3 import BUCKET


@pytest.fixture
def database_url(sqlite_template, tmp_path):
    """One database is enough: the object store knows none."""
    shutil.copy(sqlite_template, tmp_path / "sats.db")
    return f"sqlite:///{tmp_path / 'sats.db'}"


@pytest.fixture
def line(s3):
    with faulty(s3.endpoint) as faults:
        yield faults


@pytest.fixture
def place(s3, line, tmp_path):
    return S3Prefix(s3, tmp_path, line.endpoint)


@pytest.fixture
def where(place):
    """The place whose data sets may be named."""
    return f"s3://{BUCKET}/{place.prefix}/sets"


@pytest.fixture
def client(settings, place, where):
    own = settings.model_dump(exclude_unset=True)
    store = place.settings(store_seconds=2.0).model_dump(exclude_unset=True)
    app = create_app(Settings(**store | own | {"dataset_buckets": f"gs://other, {where}"}))
    with TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as made:
        yield made


def post(client, url, **parts):
    fields = {"dataset_url": (None, url), "spec": (None, json.dumps(SPEC)), **parts}
    return client.post("/tasks", files=fields)


def field_of(answer):
    (error,) = answer.json()["errors"]
    return error["field"]


def test_a_zip_in_a_bucket_is_as_if_it_was_posted(client, place, where, tmp_path):
    data = drawn(tmp_path, "cat").read_bytes()
    obstore.put(place.client, "sets/cats-of-today.zip", data)
    answer = post(client, f"{where}/cats-of-today.zip")
    assert answer.status_code == 202, answer.text
    same = client.post(
        "/tasks", files={"dataset": ("a.zip", data), "spec": (None, json.dumps(SPEC))}
    )
    assert same.status_code == 202
    stored = {name.rpartition("/")[2] for name in place.names() if name.count("/") == 1}
    assert stored == {hashlib.sha256(data).hexdigest(), "cats-of-today.zip"}


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/a.zip",
        "file:///etc/passwd",
        "s3://",
        "s3://bucket",
        "s3://elsewhere/sets/a.zip",
        "gs://others/a.zip",
        "s3://key@sats/sets/a.zip",
        "{where}-not/a.zip",
        "{where}/../a.zip",
        "{where}/./a.zip",
        "{where}//a.zip",
        "{where}/a.zip?versionId=1",
        "{where}/%2e%2e/a.zip",
        "{where}/",
        "",
    ],
)
def test_what_may_not_be_named_is_refused_and_nobody_is_asked(client, where, line, url):
    line.seen.clear()
    answer = post(client, url.format(where=where))
    assert answer.status_code == 422, answer.text
    assert field_of(answer) == "dataset_url"
    assert line.seen == []


def test_what_is_not_there_is_refused(client, where):
    answer = post(client, f"{where}/nothing.zip")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "missing"
    assert field_of(answer) == "dataset_url"


def test_what_is_too_long_is_refused_before_it_comes(client, place, where):
    obstore.put(place.client, "sets/long.zip", b"0" * (8 * 1024 * 1024 + 1))
    answer = post(client, f"{where}/long.zip")
    assert answer.status_code == 413
    assert field_of(answer) == "dataset_url"


def test_a_bucket_that_is_down_is_503(client, place, where, line):
    line.inject(drops)
    assert post(client, f"{where}/a.zip").status_code == 503


def test_one_data_set_is_enough(client, where):
    answer = post(client, f"{where}/a.zip", upload=(None, "a"))
    assert answer.status_code == 422
    assert field_of(answer) == "dataset_url"


@pytest.mark.parametrize("wrong", ["http://pictures", "s3://*", "s3://a b", "s3://a/../b", ","])
def test_places_that_are_none_are_refused_at_the_start(wrong):
    with pytest.raises(ValidationError, match="dataset_buckets"):
        Settings(dataset_buckets=wrong)
