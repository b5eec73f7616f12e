"""How what was taken away from a version looks over HTTP. Web-free."""

from app.db import Erasure, Version
from app.retirement.records import Receipt
from app.retirement.schemas import RetirementJson
from app.stored import shown


def describe_retirement(version: Version) -> RetirementJson | None:
    """Return what a version was made without; None: it was not made by a retirement."""
    if version.retirement is None:
        return None
    done = version.erasure == Erasure.DONE
    receipt = shown(Receipt, version.receipt) if done else None
    return RetirementJson.model_validate(
        {**version.retirement, "erasure": version.erasure, "receipt": receipt}
    )
