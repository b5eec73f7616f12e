"""What columns of JSON give back."""

from datetime import timedelta
from math import inf

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.db import Task, present, read_session, utc_now, write_session
from app.registry.service import ensure_model

KEY = "0" * 64


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "Ärger 🐈", "epochs": 3, "share": 0.1, "deep": [[1.5, None], {"": True}]},
        {"huge": 2**70, "tiny": 5e-324, "third": 1 / 3, "endless": -inf},
        {"half": "\ud83d", "other half": "\udc08"},
    ],
)
def test_json_is_read_as_it_was_written(engine, spec):
    if engine.dialect.name == "postgresql":
        spec = {name: value for name, value in spec.items() if name != "endless"}  # no JSON
    with write_session(engine) as session:
        model = ensure_model(session, "default")
        session.add(
            Task(model=model, spec=spec, name="", dataset=KEY, dataset_bytes=1, request_digest="")
        )
    with read_session(engine) as session:
        assert session.scalars(select(Task.spec)).one() == spec


def test_the_present_is_the_database_s(engine):
    with read_session(engine) as session:
        assert abs(present(session) - utc_now()) < timedelta(minutes=1)


@pytest.mark.parametrize("database_url", ["embedded"], indirect=True)
def test_a_connection_that_could_only_read_is_not_kept(engine):
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with (
        pytest.raises(OperationalError, match="readonly"),
        write_session(engine) as session,
    ):
        ensure_model(session, "default")
    with write_session(engine) as session:
        ensure_model(session, "default")
