"""Query parameters that a call does not have, or that come twice: told, not passed over."""

from collections.abc import Collection, Iterator
from typing import get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant

from app.errors import ErrorDetail, InvalidProblem
from app.errors.codes import Code
from sats_core.data.names import printable

_MOST_SHOWN = 100
_MOST_TOLD = 20


def refuse_undeclared(request: Request) -> None:
    """Look at the names of a request's query parameters, of which its route declares the known.

    Raises:
        InvalidProblem: one is not declared, or comes twice and is no list; each is named.
    """
    kinds = dict(_declared(request.scope["route"].dependant))
    refuse_strays(request, kinds, [name for name, kind in kinds.items() if _is_list(kind)])


def _declared(needs: Dependant) -> Iterator[tuple[str, object]]:
    """Yield name and type of every query parameter of a call and of what it depends on."""
    yield from ((field.alias, field.field_info.annotation) for field in needs.query_params)
    for inner in needs.dependencies:
        yield from _declared(inner)


def _is_list(kind: object) -> bool:
    return any(get_origin(one) is list for one in (kind, *get_args(kind)))


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
            message = f"no such parameter; there are {', '.join(known) or 'none'}"
            faults.append(ErrorDetail(message, field=f"query.{shown}", code=Code.UNKNOWN))
        elif name not in repeatable and names.count(name) > 1:
            faults.append(
                ErrorDetail("comes more than once", None, f"query.{name}", code=Code.REPEATED)
            )
    if faults:
        first = faults[0]
        raise InvalidProblem(f"{first.field}: {first.message}", faults[:_MOST_TOLD])
