"""Which of some media types a client likes best, by RFC 9110's rules for `Accept`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MediaType:
    """A media type or range: `image/png; profile=overlay`, `image/*`."""

    type: str
    subtype: str
    parameters: frozenset[tuple[str, str]] = frozenset()

    def __str__(self) -> str:
        return "; ".join(
            (f"{self.type}/{self.subtype}", *(f"{k}={v}" for k, v in sorted(self.parameters)))
        )

    def matches(self, offer: "MediaType") -> bool:
        """Return whether this range has room for an offer."""
        return (
            self.type in ("*", offer.type)
            and self.subtype in ("*", offer.subtype)
            and self.parameters <= offer.parameters
        )

    @property
    def precision(self) -> tuple[bool, bool, int]:
        """Order of ranges: the most exact one that matches an offer decides about it."""
        return self.type != "*", self.subtype != "*", len(self.parameters)


def best_liked(accept: str, offers: Sequence[MediaType]) -> MediaType | None:
    """Return the offer that an `Accept` header likes best, among equals the first; None: none."""
    ranges = list(_parsed(accept)) if accept.strip() else [(MediaType("*", "*"), 1.0)]
    best = max(offers, key=lambda offer: _quality(offer, ranges))
    return best if _quality(best, ranges) > 0 else None


def _quality(offer: MediaType, ranges: Iterable[tuple[MediaType, float]]) -> float:
    matching = [(r.precision, quality) for r, quality in ranges if r.matches(offer)]
    return max(matching)[1] if matching else 0.0


def _parsed(accept: str) -> Iterable[tuple[MediaType, float]]:
    """Read the header's ranges; one that is not well-formed is as if it were not there."""
    for part in accept.split(","):
        name, *pairs = (piece.strip() for piece in part.split(";"))
        kind, slash, subtype = name.lower().partition("/")
        if not slash or not kind or not subtype or (kind == "*" and subtype != "*"):
            continue
        parameters = dict(_pair(pair) for pair in pairs if pair)
        quality = _weight(parameters.pop("q", "1"))
        parameters.pop("charset", None)  # says nothing about what we offer
        if quality is not None:
            yield MediaType(kind, subtype, frozenset(parameters.items())), quality


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip().lower(), value.strip().strip('"').lower()


def _weight(text: str) -> float | None:
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or len(decimals) > 3 or (decimals and not decimals.isdecimal()):
        return None
    quality = float(text)
    return quality if quality <= 1 else None
