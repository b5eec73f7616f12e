"""Names of models as tasks give them: a typing error makes no model."""

from collections.abc import Callable
from difflib import get_close_matches

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import Model
from app.errors import ErrorDetail
from app.errors.codes import Code
from app.registry.problems import UnknownModelProblem
from app.registry.service import find_model


def check_known(
    session: Session, name: str, reaches: Callable[[str], bool], field: str = "spec.model"
) -> None:
    """Check that there is a model of this name, or none at all yet.

    Args:
        session: to read with.
        name: as the task gives it.
        reaches: whether the caller may hear of a model.
        field: where the name was given.

    Raises:
        UnknownModelProblem: there are others alone; those with names near to it are named.
    """
    if find_model(session, name) is not None:
        return
    names = session.scalars(select(Model.name)).all()
    if not names:
        return
    near = get_close_matches(name, filter(reaches, names))
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
    message = f'there is no model {name!r}{meant} `"create": true` in the spec makes it'
    fault = ErrorDetail(message, field=field, code=Code.UNKNOWN)
    raise UnknownModelProblem(message, [fault])
