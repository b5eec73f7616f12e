"""`/segment`, as a flow."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from sats_client._calls import classes, listed, parameters
from sats_client._flow import Answer, Ask, Flow, Request, Work
from sats_client._settings import Asked
from sats_client.errors import BadAnswer
from sats_client.models import Classes

if TYPE_CHECKING:
    from sats_client.segmentation import Picture, Segmentation

Known = dict[tuple[str, int], Classes]
"""Classes of versions, which never change."""


def segmented(known: Known, picture: "Picture", wanted: Asked) -> Flow["Segmentation"]:
    """Segment a picture; a busy service is asked again: it changes nothing to ask it twice.

    Args:
        known: classes of versions that answered before; added to.
        picture: as `segmentation.Picture`.
        wanted: parameters of the query, and whether the answer has each pixel's probability.
    """
    from sats_client.segmentation import ARRAYS, MASK, decoded, encoded

    query: dict[str, Any] = dict(wanted)
    query["classes"] = listed(query.get("classes"))
    form = ARRAYS if query.pop("scores", False) else MASK
    body: bytes = yield Work(partial(encoded, picture))
    headers = {"Accept": form, "Content-Type": "application/octet-stream"}
    answer: Answer = yield Ask(
        Request("POST", "/segment", parameters(query), headers=headers, content=body)
    )
    try:
        by = answer.headers["x-sats-model"], int(answer.headers["x-sats-version"])
        if by not in known:
            known[by] = yield from classes(*by)
        learned: Iterable[Any] = known[by].classes
        found: Segmentation = yield Work(partial(decoded, answer.body, form, *by, learned, picture))
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the answer is no segmentation: {error}") from error
    return found
