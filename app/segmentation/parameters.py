"""Query parameters that a call does not have, or that come twice: told, not passed over."""

from collections.abc import Collection

from fastapi import Request

from app.errors import ErrorDetail, InvalidProblem
from app.fault_codes import Code
from sats_core.data.names import printable

_MOST_SHOWN = 100
_MOST_TOLD = 20


def refuse_strays(
    request: Request, known: Collection[str], repeatable: Collection[str] = ()
) -> None:
    """Look at the names of a request's query parameters.

    Raises:
        InvalidProblem: one is not known, or comes twice and may not; each such one is named.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    faults = []
    for name in dict.fromkeys(names):
        shown = printable(name)[:_MOST_SHOWN]
        if name not in known:
            message = f"no such parameter; there are {', '.join(known)}"
            faults.append(ErrorDetail(message, field=f"query.{shown}", code=Code.UNKNOWN))
        elif name not in repeatable and names.count(name) > 1:
            faults.append(
                ErrorDetail("comes more than once", None, f"query.{name}", code=Code.REPEATED)
            )
    if faults:
        first = faults[0]
        raise InvalidProblem(f"{first.field}: {first.message}", faults[:_MOST_TOLD])
