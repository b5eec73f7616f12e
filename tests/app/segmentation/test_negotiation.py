from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NotAcceptableProblem
from app.segmentation.negotiation import Representation, negotiate

JSON, MASK, OVERLAY = Representation.JSON, Representation.MASK, Representation.OVERLAY
WEBP, CONFIDENCE = Representation.OVERLAY_WEBP, Representation.CONFIDENCE
ARRAYS = Representation.ARRAYS
ALL = tuple(Representation)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        ("application/json; charset=utf-8", JSON),
        ("APPLICATION/JSON", JSON),
        ("image/png", MASK),
        ("image/*", MASK),
        ("image/png;profile=overlay", OVERLAY),
        ('image/png ; profile="Overlay"', OVERLAY),
        ("image/png;profile=overlay, image/png;q=0.5", OVERLAY),
        ("image/png;profile=overlay;q=0.4, image/png;q=0.5", MASK),
        ("image/png;q=0.9, application/json;q=0.1", MASK),
        ("image/png;q=0.1, application/json;q=0.9", JSON),
        ("*/*;q=0.1, image/png", MASK),
        ("application/json;q=0, */*", MASK),
        ("image/png;q=0, */*", JSON),
        ("image/png;profile=confidence", CONFIDENCE),
        ("image/webp", WEBP),
        ("image/webp; profile=overlay", WEBP),
        ("application/x-npz", ARRAYS),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/html, application/xhtml+xml, image/avif, image/webp, */*;q=0.8", WEBP),
        ("nonsense, image/png", MASK),
        ("image/png;q=x, application/json;q=0.1", JSON),
        ("image/png;q=0.5000, application/json;q=0.1", JSON),
        ("image/jpeg, image/png;q=0.001", MASK),
    ],
)
def test_the_best_liked_is_chosen(accept: str, expected: Representation) -> None:
    assert negotiate(accept, ALL) is expected


@pytest.mark.parametrize(
    "accept",
    ["text/html", "image/jpeg", "application/json;q=0", "*/*;q=0", "nonsense", ",", "*/png"],
)
def test_nothing_that_is_liked(accept: str) -> None:
    with pytest.raises(NotAcceptableProblem) as refused:
        negotiate(accept, ALL)
    assert all(f"`{one.value}`" in refused.value.detail for one in ALL)


def test_several_pictures_are_json() -> None:
    assert negotiate("image/png, application/json;q=0.1", [JSON]) is JSON
    with pytest.raises(NotAcceptableProblem, match="several pictures"):
        negotiate("image/png", [JSON])


@given(st.text(max_size=60) | st.text("imagepn/*;=q.01, json", max_size=60))
def test_any_header_is_answered_or_refused(accept: str) -> None:
    with suppress(NotAcceptableProblem):
        assert negotiate(accept, ALL) in ALL
