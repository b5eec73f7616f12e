"""The audit log can only grow."""

from collections.abc import Sequence

from app.audit.guards import missing_triggers
from app.doctor.finding import Check, Finding, Installation


def find_missing_triggers(installation: Installation) -> Sequence[Finding]:
    """Return the triggers of the audit log that are not there, or that are switched off."""
    with installation.snapshot() as session:
        missing = missing_triggers(session)
    what = "does not stand: entries can be changed and deleted"
    return [Finding("audit-unguarded", what, f"trigger {name}") for name in missing]


CHECKS = (Check(find_missing_triggers),)
