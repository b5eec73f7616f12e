"""The triggers that let the audit log only grow: the migration makes them, nobody may drop them."""

from sqlalchemy import text
from sqlalchemy.orm import Session

SQLITE_TRIGGERS = (
    "audit_entries_no_DELETE",
    "audit_entries_no_UPDATE",
    "audit_entries_no_replace",
)
POSTGRES_TRIGGERS = ("audit_entries_no_change", "audit_entries_no_truncate")
_SQLITE = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'"
_POSTGRES = (
    "SELECT tgname FROM pg_trigger "
    "WHERE tgrelid = 'audit_entries'::regclass AND tgenabled IN ('O', 'A')"
)


def missing_triggers(session: Session) -> list[str]:
    """Return the names of the triggers that are not there, or that somebody switched off."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    wanted = SQLITE_TRIGGERS if sqlite else POSTGRES_TRIGGERS
    stands = set(session.scalars(text(_SQLITE if sqlite else _POSTGRES)))
    return [name for name in wanted if name not in stands]
