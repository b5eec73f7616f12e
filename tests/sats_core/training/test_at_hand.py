"""Which pictures a retirement looks at and which prove what came of it."""

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sats_core.training.at_hand import AtHand, Origin, Source, parted, spread
from tests.fixtures.examples import examples

NONE = cast("Any", None)
SOURCES = {name: Source(NONE, ("cat", "dog"), name) for name in ("posted", "memory", "held_out")}


def pictures(origin: Origin, showing: int, others: int) -> list[AtHand]:
    shows = [frozenset({"cat"})] * showing + [frozenset[str]()] * others
    return [AtHand(SOURCES[origin], f"{origin} {i}", names) for i, names in enumerate(shows)]


COUNTS = st.tuples(*[st.integers(0, 12)] * 6)


@settings(max_examples=examples(200))
@given(counts=COUNTS, seed=st.integers(0, 5))
def test_no_picture_is_lost_and_held_out_ones_are_halved(
    counts: tuple[int, ...], seed: int
) -> None:
    origins: list[Origin] = ["posted", "memory", "held_out"]
    found = [
        one
        for origin, showing, others in zip(origins, counts[::2], counts[1::2], strict=True)
        for one in pictures(origin, showing, others)
    ]
    after = parted(found, seed)
    assert [one.id for one in after] == [one.id for one in found]
    held_out = [one for one in after if one.source.origin == "held_out"]
    proving = sum(one.proves for one in held_out)
    assert proving >= (len(held_out) + 1) // 2
    showing = [one for one in after if one.shows]
    if len(showing) >= 4:
        assert sum(one.proves for one in showing) >= 2
    assert parted(found, seed) == after


@pytest.mark.parametrize("origin", ["posted", "memory"])
def test_with_enough_held_out_all_others_are_looked_at(origin: Origin) -> None:
    after = parted(pictures(origin, 5, 5) + pictures("held_out", 40, 0), seed=0)
    assert not any(one.proves for one in after if one.source.origin == origin)
    assert sum(one.proves for one in after) == 20


def test_without_any_half_of_what_shows_it_is_set_aside() -> None:
    after = parted(pictures("posted", 10, 10), seed=0)
    assert sum(one.proves for one in after) == 5
    assert all(one.shows for one in after if one.proves)


def test_a_spread_has_both_ends() -> None:
    found = pictures("memory", 10, 0)
    assert spread(found, 20) == found
    assert [one.id for one in spread(found, 3)] == ["memory 0", "memory 4", "memory 9"]
    assert spread([], 3) == []
