"""Rows that refer to blobs, one of every kind."""

import io
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import String, select
from sqlalchemy.orm import Session

from app.db import (
    Base,
    HeldOutSet,
    LargeUpload,
    LargeUploadState,
    Memory,
    Place,
    Task,
    TaskState,
    Version,
    utc_now,
)
from app.registry.service import ensure_model
from app.storage import BlobStore
from tests.fixtures.versions import add_version

NOT_BLOBS = {
    ("tasks", "request_digest"),
    ("api_keys", "digest"),
    ("audit_entries", "previous"),
    ("audit_entries", "hash"),
    ("webhooks", "salt"),
    ("idempotent_requests", "id"),
    ("idempotent_requests", "digest"),
    ("idempotent_requests", "salt"),
    ("large_uploads", "sha256"),
}
"""Columns that are as wide as a blob's key and hold none."""


def digest_columns() -> set[tuple[str, str]]:
    """Every column of the database that is as wide as a SHA-256."""
    return {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, String) and column.type.length == 64
    }


def add_task(
    session: Session, dataset: str, state: TaskState, evaluation: str | None = None
) -> Task:
    """Add a task in some state that was posted with these blobs."""
    task = Task(
        model=ensure_model(session, "default"),
        state=state,
        spec={"name": "made up", "model": "default"},
        dataset=dataset,
        dataset_bytes=1,
        evaluation=evaluation,
        request_digest="0" * 64,
        warnings=[],
    )
    session.add(task)
    session.flush()
    return task


def add_upload(session: Session, blob: str | None = None) -> LargeUpload:
    """Add an upload in parts, done where it is a blob."""
    ends = utc_now() + timedelta(hours=1)
    state = LargeUploadState.OPEN if blob is None else LargeUploadState.DONE
    row = LargeUpload(name="d.zip", bytes=1, part_bytes=1, state=state, blob=blob, expires_at=ends)
    session.add(row)
    session.flush()
    return row


def refer_in_every_way(session: Session, stores: Mapping[Place, BlobStore]) -> dict[str, str]:
    """Add a row of every kind that refers to a blob of its own; returns the keys by kind."""
    store = stores[Place.BLOB_STORE]

    def blob(kind: str, store: BlobStore = store) -> str:
        return store.put(io.BytesIO(kind.encode())).key

    posted = ("dataset", "evaluation", "running", "failed", "failed evaluation", "checkpoint")
    found = {kind: blob(kind) for kind in (*posted, "upload", "held-out")}
    add_upload(session, found["upload"])
    add_task(session, found["dataset"], TaskState.QUEUED, found["evaluation"])
    version = add_version(session, store, ["cat"])
    found |= {name: file["blob"] for name, file in version.files.items()}
    # One running task a model at most.
    add_task(session, found["running"], TaskState.TRAINING).checkpoint = found["checkpoint"]
    add_task(session, found["failed"], TaskState.FAILED, found["failed evaluation"])
    session.add(HeldOutSet(version_id=version.id, blob=found["held-out"], classes=[], pictures=1))
    for place, blobs_there in stores.items():
        found[f"memory in the {place}"] = blob(f"memory in the {place}", blobs_there)
    for number, place in enumerate(stores, start=2):
        kept = add_version(session, store, [f"class {number}"])
        found |= {f"{name} {number}": file["blob"] for name, file in kept.files.items()}
        add_kept(session, kept, found[f"memory in the {place}"], place)
    return found


def add_kept(session: Session, version: Version, key: str, place: Place) -> Memory:
    """Let a version keep a blob for replay."""
    memory = Memory(version_id=version.id, blob=key, bytes=1, place=place, pictures=1, classes={})
    session.add(memory)
    session.flush()
    return memory


def only_version(session: Session) -> Version:
    """The one version that there is."""
    return session.scalars(select(Version)).one()
