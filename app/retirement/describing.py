"""How what was taken away from versions looks over HTTP. Web-free."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Erasure, Memory, Place, Version
from app.records.stored import shown
from app.retirement.records import Receipt
from app.retirement.schemas import RetirementJson
from app.retirement.waiting import Moment

_WHY = "where it stays so, the workers' log says why (`erasure_put_off`)"
_DUE = f"a worker to come by, which one does every SATS_SWEEP_SECONDS; {_WHY}"
_DUE_IN_FOLDER = (
    "a worker whose SATS_MEMORY_DIR is the folder that replay pictures of the model lie in, for "
    "ever where none has it; one that has it comes by every SATS_SWEEP_SECONDS; " + _WHY
)
_END = f"a worker to delete the last bytes and sign the receipt, at its next sweep; {_WHY}"
_END_IN_FOLDER = (
    "a worker whose SATS_MEMORY_DIR is the folder that replay pictures of the model lie in, to "
    f"delete the last bytes there and sign the receipt; {_WHY}"
)


def describe_retirements(
    session: Session, versions: Sequence[Version]
) -> list[RetirementJson | None]:
    """Return what each of a model's versions was made without.

    None: it was not made by a retirement. As many queries for one version as for all.
    """
    waiting = [one for one in versions if one.erasure == Erasure.WAITS]
    moment, due = None, None
    if waiting:
        model_id = waiting[0].model_id
        moment, due = Moment.of(session, model_id), _due(session, model_id)
    return [_described(version, moment, due) for version in versions]


def _due(session: Session, model_id: int) -> str:
    """Return what a deletion still waits for that waits for nothing which rows could tell."""
    beside = (
        select(Memory.id)
        .join(Version, Version.id == Memory.version_id)
        .where(
            Version.model_id == model_id,
            Memory.place == Place.MEMORY_FOLDER,
            Memory.deleted_at.is_(None),
        )
    )
    return _DUE if session.scalar(beside.limit(1)) is None else _DUE_IN_FOLDER


def _to_end(version: Version) -> str:
    """Return what a deletion that has begun waits for: bytes go, and the receipt is signed."""
    draft = shown(Receipt, version.receipt)
    in_folder = draft is not None and any(one.place == "memory_folder" for one in draft.deleted)
    return _END_IN_FOLDER if in_folder else _END


def _described(version: Version, moment: Moment | None, due: str | None) -> RetirementJson | None:
    if version.retirement is None:
        return None
    reason = None
    if version.erasure == Erasure.WAITS and moment is not None:
        reason = moment.waits_for(version) or due
    elif version.erasure == Erasure.BEGUN:
        reason = _to_end(version)
    done = version.erasure == Erasure.DONE
    state = {
        "erasure": version.erasure,
        "waits_for": reason,
        "receipt": shown(Receipt, version.receipt) if done else None,
    }
    return RetirementJson.model_validate({**version.retirement, **state})
