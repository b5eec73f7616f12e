"""`/ui/audit`: who did what to what."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from app.admin.service import list_models
from app.audit.endpoints import ENTRIES
from app.audit.schemas import ActorJson, AuditEntryJson, entry_json
from app.audit.service import Action, Wanted, list_entries
from app.http.dependencies import ReadSession
from app.http.parameters import Cursor
from app.records.patterns import ANY_MODEL, NO_NUL
from app.web.rendering import page
from app.web.visitors import PageRoute, SeesService

A_PAGE = 50

DEEDS: Mapping[str, str] = {
    Action.TASK_POST: "Posted a task",
    Action.TASK_CANCEL: "Cancelled a task",
    Action.TASK_RETRY: "Tried a task again",
    Action.TASK_DELETE: "Deleted a task",
    Action.TASK_HISTORY_DELETE: "Deleted a task's events and log",
    Action.UPLOAD_DELETE: "Gave an upload up",
    Action.IMPORT: "Imported a version",
    Action.RETIRE: "Asked to take classes away",
    Action.CLASS_FORGET: "Deleted pictures of classes that were taken away",
    Action.PROMOTE: "Promoted a version",
    Action.ROLLBACK: "Rolled a version back",
    Action.VERSION_DELETE: "Deleted a version",
    Action.HELD_OUT_DELETE: "Deleted held-out pictures",
    Action.MEMORY_DELETE: "Deleted replay pictures",
    Action.GATE_SET: "Set a gate",
    Action.WEBHOOK_CREATE: "Made a webhook",
    Action.WEBHOOK_DELETE: "Deleted a webhook",
    Action.KEY_CREATE: "Made a key",
    Action.KEY_REVOKE: "Revoked a key",
    Action.DOCTOR_REPAIR: "Repaired a task's record",
}
"""What actions are called."""

_VERSION = re.compile(r"/admin/models/([^/]+)/versions/(\d+)(?:/.*)?")
_GATE = re.compile(r"/admin/models/([^/]+)/gate")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True)
class Change:
    """One field of what a deed was done to; None: it was not there, or is not any more."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Deed:
    """An entry as the page shows it.

    Attributes:
        entry: as the API tells it.
        did: what was done.
        what: what it was done to.
        href: the page that shows that, where one does.
        changes: of its fields, those that are recorded.
    """

    entry: AuditEntryJson
    did: str
    what: str
    href: str | None
    changes: Sequence[Change]

    @property
    def actor(self) -> ActorJson:
        """Who did it."""
        return self.entry.actor


@router.get("/ui/audit")
def audit_page(
    request: Request,
    _visitor: SeesService,
    session: ReadSession,
    action: Action | Literal[""] = "",
    model: Annotated[str, Query(pattern=ANY_MODEL)] = "",
    actor: Annotated[str, Query(max_length=200, pattern=NO_NUL)] = "",
    cursor: Cursor = None,
) -> Response:
    """List what was done, the newest first."""
    which = Wanted(action or None, model or None, actor or None)
    found = list_entries(session, which, A_PAGE + 1, ENTRIES.read(cursor))
    rows, following = ENTRIES.cut(found, A_PAGE, lambda entry: entry.id)
    asked = {"action": str(action), "model": model, "actor": actor}
    kept = {name: value for name, value in asked.items() if value}
    return page(
        request,
        "audit.html",
        {
            "deeds": [deed(entry_json(row)) for row in rows],
            "asked": asked,
            "lines": urlencode(kept | {"format": "jsonl"}),
            "older": urlencode(kept | {"cursor": following}) if following else None,
            "newest": urlencode(kept) if cursor else None,
            "words": DEEDS,
            "models": [one.name for one in list_models(session)],
        },
    )


def deed(entry: AuditEntryJson) -> Deed:
    """Return how an entry is shown."""
    what, href = _object(entry)
    gone = entry.action == Action.TASK_DELETE
    did = DEEDS.get(entry.action, entry.action)
    return Deed(entry, did, what, None if gone else href, _changes(entry))


def _object(entry: AuditEntryJson) -> tuple[str, str | None]:
    """Return what a deed was done to, and the page that shows it."""
    path = entry.object
    if version := _VERSION.fullmatch(path):
        model, number = version.groups()
        return f"version {number}", f"/ui/models/{model}/versions/{number}"
    if gate := _GATE.fullmatch(path):
        return "gate", f"/ui/models/{gate[1]}"
    said = {**(entry.before or {}), **(entry.after or {})}
    name = str(said.get("name") or path.rpartition("/")[2])
    if path.startswith("/tasks/"):
        return name, f"/ui{path}"
    return name, "/ui/keys" if path.startswith("/admin/keys/") else None


def _changes(entry: AuditEntryJson) -> list[Change]:
    before, after = entry.before or {}, entry.after or {}
    return [
        Change(name, _spelled(before, name), _spelled(after, name)) for name in {**before, **after}
    ]


def _spelled(fields: Mapping[str, Any], name: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
