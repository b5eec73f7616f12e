"""What `/segment` can answer with, and which of it a client wants."""

from collections.abc import Sequence
from enum import Enum

from app.errors import NotAcceptableProblem
from app.http.media_types import MediaType, best_liked


class Representation(Enum):
    """What `/segment` can answer with, in the order of our own liking."""

    JSON = MediaType("application", "json")
    MASK = MediaType("image", "png")
    OVERLAY = MediaType("image", "png", frozenset({("profile", "overlay")}))
    OVERLAY_WEBP = MediaType("image", "webp", frozenset({("profile", "overlay")}))
    CONFIDENCE = MediaType("image", "png", frozenset({("profile", "confidence")}))
    ARRAYS = MediaType("application", "x-npz")


def negotiate(accept: str, offers: Sequence[Representation]) -> Representation:
    """Return the offer that an `Accept` header likes best; among equals the first.

    Raises:
        NotAcceptableProblem: it likes none of them.
    """
    best = best_liked(accept, [offer.value for offer in offers])
    if best is not None:
        return Representation(best)
    names = ", ".join(f"`{offer.value}`" for offer in offers)
    raise NotAcceptableProblem(
        f"`Accept` must allow {names}"
        + ("" if len(offers) > 1 else "; several pictures are answered as JSON only")
    )
