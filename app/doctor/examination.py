"""All checks in a row, and the repair of what they found."""

from collections.abc import Callable, Iterator, Sequence

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
from app.storage.errors import FORBIDDEN

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
    tried = [one for check in CHECKS for one in _tried(installation, check)]
    remain = examine(installation)
    # A folder of which a part could be removed is too young by now to be found again.
    remain += [finding for finding, done in tried if not done and finding not in remain]
    return [finding for finding, _ in tried if finding not in remain], remain


def _tried(installation: Installation, check: Check) -> Iterator[tuple[Finding, bool]]:
    """Try to mend what a check finds; yields each finding with what `_mended` said of it."""
    found: Sequence[Finding] = check.find(installation) if check.repair else ()
    for finding in found:
        if check.repair is not None and finding.repairable:
            yield finding, _mended(installation, check.repair, finding)


def _mended(
    installation: Installation, mend: Callable[[Installation, Finding], None], finding: Finding
) -> bool:
    """Mend a finding; returns whether nothing forbade it.

    Raises:
        BlobStoreDownError: a store does not answer, or takes nothing.
    """
    try:
        mend(installation, finding)
    except FileNotFoundError:
        return True  # somebody was faster
    except OSError as error:
        if isinstance(error, BlobStoreDownError) and error.errno not in FORBIDDEN:
            raise
        log.warning("not_repaired", where=finding.where, error=str(error))
        return False
    return True
