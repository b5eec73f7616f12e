"""All checks in a row, and the repair of what they found."""

from collections.abc import Iterator, Sequence

import structlog

from app.doctor import (
    aliases,
    audit,
    blobs,
    claims,
    database,
    history,
    leftovers,
    lineage,
    mirror,
    numbers,
    orphans,
    outcomes,
    states,
    work,
)
from app.doctor.finding import Check, Finding, Installation
from app.storage import BlobStoreDownError

log = structlog.get_logger(__name__)

CHECKS: tuple[Check, ...] = (
    *database.CHECKS,
    *states.CHECKS,
    *claims.CHECKS,
    *outcomes.CHECKS,
    *history.CHECKS,
    *numbers.CHECKS,
    *aliases.CHECKS,
    *lineage.CHECKS,
    *blobs.CHECKS,
    *audit.CHECKS,
    *orphans.CHECKS,
    *work.CHECKS,
    *leftovers.CHECKS,
    *mirror.CHECKS,
)


def examine(installation: Installation) -> list[Finding]:
    """Return everything that is not as it must be; changes nothing.

    A damaged database is all that is said of it: nothing else that it says can be believed.
    """
    damage = list(database.find_damage(installation))
    return damage or [finding for check in CHECKS for finding in check.find(installation)]


def repair(installation: Installation) -> tuple[list[Finding], list[Finding]]:
    """Mend what can be mended; returns what was mended and what remains.

    The repair of one finding may bring another to light, which remains until the next. What may not
    be mended by whoever runs this, a file of another user for one, remains too, and is logged.
    """
    damage = list(database.find_damage(installation))
    if damage:
        return [], damage
    found = [finding for check in CHECKS for finding in _repaired(installation, check)]
    remain = examine(installation)
    return [finding for finding in found if finding not in remain], remain


def _repaired(installation: Installation, check: Check) -> Iterator[Finding]:
    found: Sequence[Finding] = check.find(installation) if check.repair else ()
    for finding in found:
        if check.repair is None or not finding.repairable:
            continue
        try:
            check.repair(installation, finding)
        except BlobStoreDownError:
            raise
        except OSError as error:
            log.warning("not_repaired", where=finding.where, error=str(error))
        else:
            yield finding
