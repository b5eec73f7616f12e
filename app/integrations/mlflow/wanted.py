"""What is to be in MLflow, read from the registry."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Model, Version
from app.registry.service import live_ids

FORM = "1"
"""What mirrored versions look like. Another number: every model is compared anew."""


@dataclass(frozen=True)
class WantedVersion:
    """A version as the database has it now.

    Attributes:
        id: of its row.
        number: the model's own.
        task: id of the task that made it: no two versions have the same.
        deleted: when it was deleted, as text; None: it was not.
        live: whether it is.
    """

    id: int
    number: int
    task: str
    deleted: str | None
    live: bool


@dataclass(frozen=True)
class WantedModel:
    """A model and all its versions, by number.

    Attributes:
        name: the model's.
        made: when it was made, as text: of two services' models of one name not the same.
        versions: by number; one at least.
    """

    name: str
    made: str
    versions: Sequence[WantedVersion]

    @property
    def live(self) -> WantedVersion | None:
        """The live version, if there is one."""
        return next((one for one in self.versions if one.live), None)

    @property
    def digest(self) -> str:
        """What changes whenever something is to be done in MLflow."""
        return hashlib.sha256(f"{FORM} {self.versions}".encode()).hexdigest()[:32]


def wanted(session: Session) -> list[WantedModel]:
    """Return every model that has versions, by name; two statements, however many there are."""
    live = set(live_ids(session).values())
    rows = session.execute(
        select(
            Model.name,
            Model.created_at,
            Version.id,
            Version.number,
            Version.task_id,
            Version.deleted_at,
        )
        .join(Version, Version.model_id == Model.id)
        .order_by(Model.name, Version.number)
    ).all()
    models: dict[tuple[str, str], list[WantedVersion]] = {}
    for row in rows:
        deleted = row.deleted_at and row.deleted_at.isoformat()
        found = WantedVersion(row.id, row.number, row.task_id, deleted, row.id in live)
        models.setdefault((row.name, row.created_at.isoformat()), []).append(found)
    return [WantedModel(name, made, versions) for (name, made), versions in models.items()]
