"""`/segment`, as a flow."""

from collections.abc import Iterable
from email.message import Message
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
    from sats_client.segmentation import ARRAYS, MASK, decoded

    form = ARRAYS if wanted.get("scores") else MASK
    answer: Answer = yield from _posted(picture, wanted, form)
    try:
        by = answer.headers["x-sats-model"], int(answer.headers["x-sats-version"])
        if by not in known:
            known[by] = yield from classes(*by)
        learned: Iterable[Any] = known[by].classes
        found: Segmentation = yield Work(partial(decoded, answer.body, form, *by, learned, picture))
    except (KeyError, ValueError) as error:
        raise BadAnswer(f"the answer is no segmentation: {error}") from error
    return found


def answered(picture: "Picture", form: str, wanted: Asked) -> Flow[bytes]:
    """Return what is answered of a picture, as it is.

    Raises:
        BadAnswer: it is something else than was asked for.
    """
    answer: Answer = yield from _posted(picture, wanted, form)
    said = answer.headers.get("content-type", "")
    if _kind(said) != _kind(form):
        raise BadAnswer(f"the answer is {said or 'nothing'}, not {form}: is it a SATS service?")
    return answer.body


def _kind(content_type: str) -> tuple[str, str | None]:
    """Return type and profile; proxies add other parameters, as a character set."""
    said = Message()
    said["Content-Type"] = content_type
    profile = said.get_param("profile")
    return said.get_content_type(), profile if isinstance(profile, str) else None


Ring = list[list[float]]
"""Points, x and y."""


def outlined(picture: "Picture", wanted: Asked) -> Flow[list[tuple[int, Ring]]]:
    """Return the outer outlines of what a picture shows, each with its class's index."""
    answer: Answer = yield from _posted(picture, wanted, "application/json", polygons=True)
    found = []
    try:
        for shown in answer.json()["pictures"][0]["classes"]:
            for outer, *_holes in shown.get("polygons") or ():
                ring = outer[:-1] if outer[0] == outer[-1] else outer
                if len(ring) > 2:
                    found.append((shown["index"], ring))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadAnswer(f"the answer is no segmentation: {error}") from error
    return found


def _posted(picture: "Picture", wanted: Asked, form: str, **more: Any) -> Flow[Answer]:
    from sats_client.segmentation import encoded

    query: dict[str, Any] = {**wanted, **more}
    query.pop("scores", None)
    query["classes"] = listed(query.get("classes"))
    body: bytes = yield Work(partial(encoded, picture))
    headers = {"Accept": form, "Content-Type": "application/octet-stream"}
    answer: Answer = yield Ask(
        Request("POST", "/segment", parameters(query), headers=headers, content=body)
    )
    return answer
