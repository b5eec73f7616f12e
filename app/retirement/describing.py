"""How what was taken away from versions looks over HTTP. Web-free."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.db import Erasure, Version
from app.retirement.records import Receipt
from app.retirement.schemas import RetirementJson
from app.retirement.waiting import Moment
from app.stored import shown

_DUE = "a worker to come by, which one does every SATS_SWEEP_SECONDS"


def describe_retirements(
    session: Session, versions: Sequence[Version]
) -> list[RetirementJson | None]:
    """Return what each of a model's versions was made without.

    None: it was not made by a retirement. As many queries for one version as for all.
    """
    waiting = [one for one in versions if one.erasure == Erasure.WAITS]
    moment = Moment.of(session, waiting[0].model_id) if waiting else None
    return [_described(version, moment) for version in versions]


def _described(version: Version, moment: Moment | None) -> RetirementJson | None:
    if version.retirement is None:
        return None
    reason = None
    if version.erasure == Erasure.WAITS and moment is not None:
        reason = moment.waits_for(version) or _DUE
    done = version.erasure == Erasure.DONE
    state = {
        "erasure": version.erasure,
        "waits_for": reason,
        "receipt": shown(Receipt, version.receipt) if done else None,
    }
    return RetirementJson.model_validate({**version.retirement, **state})
